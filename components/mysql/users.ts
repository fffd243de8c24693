/** The statements that give applications what they need, run on the primary and replicated: pure. */
import type { Credentials } from "../shared/core/users";
import { quoted } from "./configuration";
import { databaseOf } from "./layout";

/** Marks accounts that the setup has made, so that it finds those of former applications. */
const attribute = '{"cells-services": "application"}';

/** At least 1, because 0 would mean no limit. */
export function shareOf(maxConnections: number, applications: number): number {
  return Math.max(Math.floor(maxConnections / applications), 1);
}

/** All may be repeated. */
export function applicationStatements({ username, password }: Credentials, maxConnections: number): string[] {
  const database = databaseOf(username);
  const account = `${quoted(username)}@'%'`;
  return [
    `CREATE DATABASE IF NOT EXISTS ${identifier(database)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    `CREATE USER IF NOT EXISTS ${account} IDENTIFIED BY ${quoted(password)}`,
    `ALTER USER ${account} WITH MAX_USER_CONNECTIONS ${maxConnections} ACCOUNT UNLOCK ATTRIBUTE '${attribute}'`,
    `GRANT ALL ON ${pattern(database)}.* TO ${account}`,
  ];
}

/** The former password works too until the next change, so that clients can change one after the other. */
export function passwordStatement({ username, password }: Credentials): string {
  return `ALTER USER ${quoted(username)}@'%' IDENTIFIED BY ${quoted(password)} RETAIN CURRENT PASSWORD`;
}

export interface PasswordPlaces {
  accepts: (login: Credentials) => Promise<boolean>;
  /** As `passwordStatement`. */
  give: (login: Credentials) => Promise<void>;
}

/** In the end the server accepts both, in its two places for passwords. What it has accepted never stops working. */
export async function keepPasswords(logins: Credentials[], { accepts, give }: PasswordPlaces): Promise<void> {
  const [current, former] = logins;
  if (current === undefined) return;
  if (!(await accepts(current))) await give(current);
  if (former === undefined || (await accepts(former))) return;
  await give(former);
  await give(current);
}

export const madeBySetup =
  "SELECT USER AS username FROM INFORMATION_SCHEMA.USER_ATTRIBUTES WHERE HOST = '%' " +
  `AND ATTRIBUTE->>'$."cells-services"' = 'application'`;

/** The data stays. A person who wants to delete it drops the database. */
export function lockStatement(username: string): string {
  return `ALTER USER ${quoted(username)}@'%' ACCOUNT LOCK`;
}

export function identifier(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** In a GRANT an underscore stands for any character: the database of one application must not match that of another. */
function pattern(database: string): string {
  return identifier(database.replaceAll("_", "\\_"));
}
