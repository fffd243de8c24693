/** The Secrets in the namespace of Cells, with the names and keys that its chart takes for granted. Pure. */
import type { CellsFacts, Login } from "./facts";

/** Names say "root" because the chart does; what is in them is the user of Cells. */
export const chartSecrets = {
  mysql: { name: "cells-mariadb", key: "mariadb-root-password" },
  redis: { name: "cells-redis", key: "redis-password" },
  etcd: { name: "cells-etcd", key: "etcd-root-password" },
  nats: { name: "cells-nats", key: "nats-server.conf" },
  mongodb: { name: "mongodb", key: "mongodb-root-password" },
  objectstore: { name: "cells-minio", key: "root-password", userKey: "root-user" },
} as const;

export type ChartService = keyof typeof chartSecrets;
export const chartServices = Object.keys(chartSecrets) as ChartService[];

export function secretContent(service: ChartService, login: Login): Record<string, string> {
  switch (service) {
    case "nats":
      return { [chartSecrets.nats.key]: serverConfiguration(login) };
    case "objectstore":
      return { [chartSecrets.objectstore.userKey]: login.user, [chartSecrets.objectstore.key]: login.password };
    default:
      return { [chartSecrets[service].key]: login.password };
  }
}

/** The chart looks for user and password in what it takes for the configuration of a server. */
function serverConfiguration({ user, password }: Login): string {
  const quoted = JSON.stringify;
  return [
    "authorization {",
    "  users = [",
    `    { user: ${quoted(user)}, password: ${quoted(password)} }`,
    "  ]",
    "}",
    "",
  ].join("\n");
}

/** What the user of this service logs in with; nothing when the stack has no such service. */
export function loginOf(facts: CellsFacts, service: ChartService): Login | undefined {
  return facts[service];
}
