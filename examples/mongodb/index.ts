/** MongoDB: a replica set of 3 members, and a database with its user. */
import { MongodbCluster } from "cells-services/mongodb";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-mongodb");
const mongodb = new MongodbCluster(
  "mongodb",
  {
    namespace: namespace.metadata.name,
    storage: { size: "3Gi" },
    applications: ["shop"],
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = mongodb;
export const { secret } = mongodb.application("shop");
/** For `npx cells-services check`. */
export const checks = [mongodb.checkTarget];
