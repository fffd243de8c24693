/** All that the files and the Secrets for Cells are made of, as plain values. */
import type { TlsMode } from "../../components/shared/deploy";
import type { CellsVersion } from "../config";
import type { BucketNames } from "./needs";

export interface Endpoint {
  /** The one name, for life. */
  host: string;
  port: number;
  /** Only with `required` does Cells connect over TLS. */
  tls: TlsMode;
}

interface Own {
  /** The Secret that the component made: with TLS its key `ca.crt` is the authority. */
  secret: string;
}

/** With S3 of AWS there is no such Secret: everybody knows its authority. */
export type CellsStore = Endpoint & Partial<Own> & Login & { region: string; buckets: BucketNames };

export interface Login {
  user: string;
  password: string;
}

/** A service that the stack does not have, or that has no user for Cells, is not there. */
export interface CellsFacts {
  version: CellsVersion;
  /** That Cells runs in. All Secrets are there. */
  namespace: string;
  etcd?: Endpoint & Own & Login;
  /** Its token is made in the cluster: key `token` of the Secret. */
  vault?: Endpoint & Own;
  nats?: Endpoint & Own & Login;
  redis?: Endpoint & Own & Login;
  mongodb?: Endpoint & Own & Login & { database: string; replicaSet: string };
  mysql?: Endpoint & Own & Login & { database: string };
  objectstore?: CellsStore;
}
