import type { DrilledService } from "../../drills/profiles";

/** `make test-all`: everything. `make test` keeps one proof of each kind, so that it ends within its time. */
export const everything = process.env["TEST_SCOPE"] === "all";

/** The services that changes are tried with. */
export const changed: DrilledService[] = everything ? ["etcd", "vault", "nats", "redis", "mongodb", "mysql"] : ["etcd"];
