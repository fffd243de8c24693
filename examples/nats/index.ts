/** NATS with JetStream: 3 members that sync each message to disk, and two applications that do not see each other. */
import { NatsCluster } from "../../components/nats";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-nats");
const nats = new NatsCluster("nats", {
  namespace: namespace.metadata.name,
  durability: "fsync",
  applications: ["shop", "billing"],
  deletion: "delete",
});

export const { url, certificateAuthority } = nats;
export const { secret } = nats.application("shop");
/** For `checks/cli.ts`. */
export const checks = [nats.checkTarget];
