import type { Path, Properties, PropertyMap } from "./values";

export type DiffKind = "add" | "add-replace" | "delete" | "delete-replace" | "update" | "update-replace";

export interface Difference {
  changed: boolean;
  /** Changed places by printed path. */
  detailed: Record<string, DiffKind>;
  deleteBeforeReplace: boolean;
}

export interface Failure {
  property: string;
  reason: string;
}

export type Severity = "debug" | "info" | "warning" | "error";

/** Writes a line to the display of the engine; `status` lines only replace the text beside the resource. */
export type Log = (severity: Severity, message: string, options?: { urn?: string; status?: boolean }) => void;

export interface Context {
  log: Log;
  /** Aborted when the engine asks to cancel. */
  signal: AbortSignal;
}

export interface ResourceRequest {
  urn: string;
  /** `kubernetes:apps/v1:StatefulSet` */
  type: string;
  /** The name in the program. */
  name: string;
}

export interface CheckRequest extends ResourceRequest {
  olds: Properties | undefined;
  news: Properties;
  randomSeed: Buffer;
}

export interface DiffRequest extends ResourceRequest {
  id: string;
  oldInputs: Properties;
  oldState: Properties;
  news: Properties;
  ignoreChanges: string[];
}

export interface CreateRequest extends ResourceRequest {
  inputs: Properties;
  preview: boolean;
  /** Zero when the program gives none. */
  timeoutSeconds: number;
}

export interface UpdateRequest extends CreateRequest {
  id: string;
  oldInputs: Properties;
  oldState: Properties;
}

export interface ReadRequest extends ResourceRequest {
  id: string;
  inputs: Properties;
  state: Properties;
}

export interface DeleteRequest extends ResourceRequest {
  id: string;
  inputs: Properties;
  state: Properties;
  timeoutSeconds: number;
}

export interface ReadResult {
  id: string;
  inputs: Properties;
  state: Properties;
}

/** The operations of a resource plugin, free of gRPC. */
export interface Provider {
  name: string;
  version: string;
  checkConfig?(news: Properties): Promise<Failure[]>;
  diffConfig?(olds: PropertyMap, news: PropertyMap): Promise<Difference>;
  configure(config: PropertyMap, context: Context): Promise<void>;
  check(request: CheckRequest): Promise<{ inputs: Properties; failures: Failure[] }>;
  diff(request: DiffRequest, context: Context): Promise<Difference>;
  create(request: CreateRequest, context: Context): Promise<{ id: string; state: Properties }>;
  /** `undefined` when the resource is gone. */
  read(request: ReadRequest, context: Context): Promise<ReadResult | undefined>;
  update(request: UpdateRequest, context: Context): Promise<Properties>;
  delete(request: DeleteRequest, context: Context): Promise<void>;
}

/**
 * The resource exists but is not what was asked for yet. The engine keeps it in its state with the reasons and updates
 * it on the next run even when nothing changed.
 */
export class InitializationError extends Error {
  readonly id: string;
  readonly state: Properties;
  readonly inputs: Properties | undefined;
  readonly reasons: string[];

  constructor(id: string, state: Properties, inputs: Properties | undefined, reasons: string[]) {
    super(reasons.join("\n"));
    this.id = id;
    this.state = state;
    this.inputs = inputs;
    this.reasons = reasons;
  }
}

/** The secrets of the given bag plus further paths, each once. */
export function secretPaths(...lists: Path[][]): Path[] {
  const seen = new Map(lists.flat().map((path) => [JSON.stringify(path), path]));
  return [...seen.values()];
}
