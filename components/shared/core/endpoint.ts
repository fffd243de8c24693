import type { Credentials } from "./users";

/** Where a client connects, and how the two sides prove who they are. */
export interface Endpoint {
  host: string;
  port: number;
  /** undefined: plain text. */
  tls?: {
    /** Trust bundle, PEM. */
    ca: string;
    /** The name that the certificate must carry, default: the host. */
    servername?: string;
  };
  credentials?: Credentials;
}
