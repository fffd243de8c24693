/** Of the driver, a part that its own types leave out: documents of a command that are encoded already. */
declare module "mongodb/lib/cmap/commands.js" {
  export class DocumentSequence {
    constructor(field: string);
    push(document: object, encoded: Uint8Array): number;
  }
}
