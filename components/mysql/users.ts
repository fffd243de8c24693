/** The statements that give applications what they need, run on the primary and replicated: pure. */
import type { Credentials } from "../shared/core/users";
import { quoted } from "./configuration";
import { databaseOf } from "./layout";

/** On accounts that the setup has made, so that it finds those of applications that are no more. */
const attribute = '{"cells-services": "application"}';

/** Together they must leave what is kept for administrators, agents and members; and 0 would be no limit. */
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

/** The former password works too, until the next one: clients change over one by one. */
export function passwordStatement({ username, password }: Credentials): string {
  return `ALTER USER ${quoted(username)}@'%' IDENTIFIED BY ${quoted(password)} RETAIN CURRENT PASSWORD`;
}

export interface PasswordPlaces {
  accepts: (login: Credentials) => Promise<boolean>;
  /** As `passwordStatement`. */
  give: (login: Credentials) => Promise<void>;
}

/** Both passwords are accepted in the end, and each that was accepted all the time. A server has two places for them. */
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

/** Its data stays: whoever wants it gone says so to the database. */
export function lockStatement(username: string): string {
  return `ALTER USER ${quoted(username)}@'%' ACCOUNT LOCK`;
}

function identifier(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** In a GRANT an underscore stands for any character: the database of one application must not match that of another. */
function pattern(database: string): string {
  return identifier(database.replaceAll("_", "\\_"));
}
