/** MySQL: 3 servers of which one is written to, one address that follows it, and a database with its user. */
import { MysqlCluster } from "../../components/mysql";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-mysql");
const mysql = new MysqlCluster("mysql", {
  namespace: namespace.metadata.name,
  storage: { size: "4Gi" },
  maxConnections: 100,
  applications: ["shop"],
  deletion: "delete",
});

export const { url, certificateAuthority } = mysql;
export const { secret } = mysql.application("shop");
/** For `checks/cli.ts`. */
export const checks = [mysql.checkTarget];
