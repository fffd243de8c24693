/** Who logs in with what: in the Secret of the setup, in the configuration of servers, and in the agents. */
export interface Credentials {
  username: string;
  password: string;
}

/** What servers must accept: of each user first what its Secret shows, then what it showed before the last rotation. */
export interface Users {
  admin: Credentials[];
  applications: Record<string, Credentials[]>;
}
