/** etcd: 3 voters, TLS, and one user that may read and write all keys. */
import { EtcdCluster } from "../../components/etcd";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-etcd");
const etcd = new EtcdCluster("etcd", {
  namespace: namespace.metadata.name,
  storage: { size: "2Gi" },
  applications: ["shop"],
  deletion: "delete",
});

export const { url, certificateAuthority } = etcd;
export const { secret } = etcd.application("shop");
/** For `checks/cli.ts`. */
export const checks = [etcd.checkTarget];
