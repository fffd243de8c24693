import type { Context } from "../server/provider";
import { type Client, createClient, UnreachableError } from "./client";
import { type Configuration, loadKubeConfig } from "./configuration";

/** The configured cluster, asked for only when an operation needs it. */
export interface Session {
  configuration: Configuration;
  /** Throws one clear sentence when the cluster cannot be reached. */
  client(): Promise<Client>;
  /** For previews, which do without: says once why they are less exact. */
  reachable(context: Context): Promise<Client | undefined>;
}

export class ClusterUnreachableError extends Error {}

export function createSession(configuration: Configuration): Session {
  let connected: Promise<Client> | undefined;
  let warned = false;

  async function connect(): Promise<Client> {
    try {
      const client = createClient(loadKubeConfig(configuration));
      await client.reach();
      return client;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ClusterUnreachableError(`configured Kubernetes cluster is unreachable: ${reason}`, { cause: error });
    }
  }

  async function client(): Promise<Client> {
    connected ??= connect();
    return connected;
  }

  return {
    configuration,
    client,
    reachable: async (context) => {
      try {
        return await client();
      } catch (error) {
        if (!warned) {
          const reason = error instanceof Error ? error.message : String(error);
          context.log(
            "warning",
            `${reason}; the preview shows what the program says, not what the cluster would make of it`,
          );
        }
        warned = true;
        return undefined;
      }
    },
  };
}

export function isUnreachable(error: unknown): boolean {
  return error instanceof ClusterUnreachableError || error instanceof UnreachableError;
}
