/** MySQL: 3 servers of which one is written to, one address that follows it, and a database with its user. */
import { MysqlCluster } from "cells-services/mysql";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-mysql");
const mysql = new MysqlCluster(
  "mysql",
  {
    namespace: namespace.metadata.name,
    storage: { size: "4Gi" },
    maxConnections: 100,
    applications: ["shop"],
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = mysql;
export const { secret } = mysql.application("shop");
/** For `npx cells-services check`. */
export const checks = [mysql.checkTarget];
