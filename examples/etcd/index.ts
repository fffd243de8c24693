/** etcd: 3 voters, TLS, and one user that may read and write all keys. */
import { EtcdCluster } from "cells-services/etcd";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-etcd");
const etcd = new EtcdCluster(
  "etcd",
  {
    namespace: namespace.metadata.name,
    storage: { size: "2Gi" },
    applications: ["shop"],
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = etcd;
export const { secret } = etcd.application("shop");
/** For `npx cells-services check`. */
export const checks = [etcd.checkTarget];
