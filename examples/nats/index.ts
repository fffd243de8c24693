/** NATS with JetStream: 3 members that sync each message to disk, and two applications that do not see each other. */
import { NatsCluster } from "cells-services/nats";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-nats");
const nats = new NatsCluster(
  "nats",
  {
    namespace: namespace.metadata.name,
    durability: "fsync",
    applications: ["shop", "billing"],
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = nats;
export const { secret } = nats.application("shop");
/** For `npx cells-services check`. */
export const checks = [nats.checkTarget];
