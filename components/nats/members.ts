/** How agents log in to the members. */
import type { NatsConnection } from "@nats-io/transport-node";
import { readLogin, readUsers } from "../shared/agent/logins";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials, Users } from "../shared/core/users";
import { type Endpoint, withConnection } from "./client";
import { paths, ports } from "./layout";

export async function endpointOf(
  settings: EnsembleSettings,
  host: string,
  credentials: Credentials,
): Promise<Endpoint> {
  const login = await readLogin(settings.tls, paths.trust, host, credentials);
  return { ...login, port: ports.client, name: "cells-services-setup" };
}

export function logIn(endpoint: Endpoint): Promise<void> {
  return withConnection(endpoint, async () => undefined);
}

/** With the first login of a user that the server accepts: it may know only the former password. */
export async function acceptedOf(
  settings: EnsembleSettings,
  host: string,
  loginsOf: (users: Users) => Credentials[],
): Promise<Endpoint> {
  let error: unknown = new Error("the Secret with the users names no login");
  for (const login of loginsOf(await readUsers())) {
    const endpoint = await endpointOf(settings, host, login);
    try {
      await logIn(endpoint);
      return endpoint;
    } catch (reason) {
      error = reason;
    }
  }
  throw error;
}

export const administrator = ({ admin }: Users): Credentials[] => admin;

/** With the first accepted login of a user. */
export async function withUser<T>(
  settings: EnsembleSettings,
  host: string,
  loginsOf: (users: Users) => Credentials[],
  use: (connection: NatsConnection) => Promise<T>,
): Promise<T> {
  return withConnection(await acceptedOf(settings, host, loginsOf), use);
}
