/** What makes a living service sick without breaking it. */
import { createRedaction, openEnvironment } from "../../checks";
import * as mongodb from "../../components/mongodb/client";
import * as mysql from "../../components/mysql/client";
import { memberHost } from "../../components/shared/core/names";
import { agentImage } from "../../components/shared/deploy/images";
import { apply, kubectl } from "../../sandbox/cluster";
import { placeOf } from "./workload";

export type Sluggish = "mongodb" | "mysql";

/** Keeps a member that does not lead from applying what the others write, until the end that is returned. */
export async function holdBack(stack: string, service: Sluggish, member: string): Promise<() => Promise<void>> {
  const { config, target } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  const { username = "", password = "" } = await environment.secret(target.adminSecret);
  const ca = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  if (service === "mongodb") {
    const auth = { username, password, source: "admin" };
    const tls = ca === undefined ? "off" : "unverified";
    const client = mongodb.direct({ host, port, tls, auth, timeoutMilliseconds: 10_000 });
    await mongodb.command(client, { fsync: 1, lock: true });
    return async () => {
      await mongodb.command(client, { fsyncUnlock: 1 });
      await client.close();
      await environment.close();
    };
  }
  const servername = memberHost(target.name, target.namespace, member);
  const tls = ca === undefined ? {} : { tls: { ca, servername } };
  const connection = await mysql.open({ host, port, ...tls, credentials: { username, password } }, 10_000);
  await connection.query("FLUSH TABLES WITH READ LOCK");
  return async () => {
    await connection.end();
    await environment.close();
  };
}

const crowd = (address: string, port: number, count: number): string => `
const { connect } = require("node:net");
const open = () => {
  const socket = connect(${port}, "${address}");
  socket.on("error", () => undefined);
  socket.on("close", () => setTimeout(open, 1000));
};
for (let number = 0; number < ${count}; number += 1) setTimeout(open, number);
process.on("SIGTERM", () => process.exit(0));`;

/** Holds connections that ask for nothing, from a pod among the clients, until the end that is returned. */
export async function crowdOf(
  namespace: string,
  name: string,
  { address, port, count }: { address: string; port: number; count: number },
): Promise<() => Promise<void>> {
  await apply({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name: "crowd",
          image: agentImage,
          imagePullPolicy: "IfNotPresent",
          command: ["/usr/local/bin/node", "-e", crowd(address, port, count)],
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
          resources: { requests: { cpu: "20m", memory: "48Mi" }, limits: { memory: "256Mi" } },
        },
      ],
    },
  });
  return async () => void (await kubectl("delete", "pod", name, "-n", namespace));
}
