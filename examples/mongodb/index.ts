/** MongoDB: a replica set of 3 members, and a database with its user. */
import { MongodbCluster } from "../../components/mongodb";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-mongodb");
const mongodb = new MongodbCluster("mongodb", {
  namespace: namespace.metadata.name,
  storage: { size: "3Gi" },
  applications: ["shop"],
  deletion: "delete",
});

export const { url, certificateAuthority } = mongodb;
export const { secret } = mongodb.application("shop");
/** For `checks/cli.ts`. */
export const checks = [mongodb.checkTarget];
