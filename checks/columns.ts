/** What `make top` shows: which metric fills which column of a service, and the rows that a scrape makes. Pure. */
import type { CheckTarget } from "../components/shared/core/check";
import type { Scraped } from "../components/shared/core/exposition";
import { metricPrefix } from "../components/shared/core/metrics";
import type { ServiceKind } from "../components/shared/core/names";
import { duration, size } from "./quantities";
import { table } from "./table";

/** What a pod answered to a scrape, or why it did not. */
export type Scrape = { pod: string; samples: Scraped[] } | { pod: string; reason: string };

interface Metric {
  /** With its prefix. */
  name: string;
  /** Only with these. */
  labels?: Record<string, string>;
}

interface Columns {
  /** 0: the server of the member does not answer, though something else speaks for it. */
  up?: Metric;
  /** 1: the member serves. */
  ready: Metric;
  /** 1: the member leads. */
  leader: Metric;
  lag?: { metric: Metric; unit: "s" | "bytes" | "entries" | "transactions"; of: "the last" | "first and last" };
  /** The fullest of these is shown. */
  connections: Share[];
  disk: Share[];
  /** Deployments beside the members, by the end of their names. */
  beside: string[];
}

/** Two of the three, of the same member or pod. */
type Share = { used: Metric; limit: Metric } | { free: Metric; limit: Metric } | { used: Metric; free: Metric };

const native = (name: string, labels?: Record<string, string>): Metric => ({ name, ...(labels && { labels }) });
const own = (name: string, labels?: Record<string, string>): Metric => native(metricPrefix + name, labels);

const besideServer = {
  ready: own("ready"),
  leader: own("primary"),
  connections: [],
  disk: [{ free: own("volume_available_bytes"), limit: own("volume_size_bytes") }],
  beside: [],
};
const gateway = {
  used: native("haproxy_frontend_current_sessions", { proxy: "clients" }),
  limit: native("haproxy_frontend_limit_sessions", { proxy: "clients" }),
};

/** The object store has no metrics. */
export const columns: { [S in Exclude<ServiceKind, "objectstore">]: Columns } = {
  etcd: {
    ready: native("etcd_server_has_leader"),
    leader: native("etcd_server_is_leader"),
    lag: { metric: native("etcd_server_proposals_applied_total"), unit: "entries", of: "first and last" },
    connections: [],
    disk: [{ used: native("etcd_mvcc_db_total_size_in_bytes"), limit: native("etcd_server_quota_backend_bytes") }],
    beside: ["maintenance"],
  },
  vault: { ...besideServer, up: own("vault_up") },
  nats: {
    up: own("nats_up"),
    ready: own("nats_ready"),
    leader: own("nats_meta_leader"),
    connections: [{ used: own("nats_connections"), limit: own("nats_max_connections") }],
    disk: [
      {
        used: own("nats_store_used_bytes", { storage: "file" }),
        limit: own("nats_store_limit_bytes", { storage: "file" }),
      },
    ],
    beside: ["reconciler"],
  },
  redis: {
    ...besideServer,
    lag: { metric: own("redis_replication_lag_bytes"), unit: "bytes", of: "the last" },
    connections: [gateway, { used: own("redis_connected_clients"), limit: own("redis_max_clients") }],
    beside: ["gateway"],
  },
  mongodb: {
    ...besideServer,
    lag: { metric: own("mongodb_lag_seconds"), unit: "s", of: "the last" },
    connections: [{ used: own("mongodb_connections"), free: own("mongodb_connections_available") }],
  },
  mysql: {
    ...besideServer,
    lag: { metric: own("mysql_applier_queue"), unit: "transactions", of: "the last" },
    connections: [gateway, { used: own("mysql_connections"), limit: own("mysql_max_connections") }],
    beside: ["gateway"],
  },
};

export type Measured = CheckTarget & { service: keyof typeof columns };

export const isMeasured = (target: CheckTarget): target is Measured => target.service in columns;

/** Of one service. What no scrape says is undefined. */
export interface Row {
  service: CheckTarget["service"];
  name: string;
  namespace: string;
  members: number;
  ready: number;
  /** More than one is a fault, or one that has just lost its place. */
  leaders: string[];
  lag: { value: number; unit: string } | undefined;
  connections: { used: number; limit: number } | undefined;
  /** In bytes, of the member with the least space. With etcd its quota, with NATS the limit of JetStream, with the others the volume. */
  disk: { used: number; limit: number } | undefined;
  /** Unix time in seconds. */
  certificateExpiry: number | undefined;
  lastBackup: number | undefined;
  lastProof: number | undefined;
  /** What a person should look at. */
  notes: string[];
}

/** Of the pod that says it, unless a label names another member. */
type Said = Pick<Scraped, "value"> & { member: string };

/** `pods`: names of all that there are, scraped or not. */
export function rowOf({ service, name, namespace, members }: Measured, scrapes: Scrape[], pods: string[]): Row {
  const shown: Columns = columns[service];
  const all = scrapes.flatMap((scrape) =>
    ("samples" in scrape ? scrape.samples : []).map((each) => ({
      ...each,
      member: each.labels["member"] ?? scrape.pod,
    })),
  );
  const said = ({ name: metric, labels = {} }: Metric): Said[] =>
    all.filter(
      (each) => each.name === metric && Object.entries(labels).every(([key, value]) => each.labels[key] === value),
    );
  const membersWith = (metric: Metric, value = 1): string[] =>
    members.filter((member) => said(metric).some((each) => each.member === member && each.value === value));
  const ready = membersWith(shown.ready);
  return {
    service,
    name,
    namespace,
    members: members.length,
    ready: ready.length,
    leaders: membersWith(shown.leader),
    lag: lagOf(shown.lag, said),
    connections: fullest(shown.connections, said),
    disk: fullest(shown.disk, said),
    certificateExpiry: least(said(own("certificate_expiry_timestamp_seconds"))),
    lastBackup: newest(said(own("backup_last_success_timestamp_seconds", { kind: "copy" }))),
    lastProof: newest(said(own("backup_last_success_timestamp_seconds", { kind: "proof" }))),
    notes: [
      ...members.filter((member) => !pods.includes(member)).map((member) => `${member} is not there`),
      ...shown.beside
        .map((role) => `${name}-${role}`)
        .filter((deployment) => !pods.some((pod) => pod.startsWith(`${deployment}-`)))
        .map((deployment) => `${deployment} has no pod`),
      ...scrapes.flatMap((scrape) => ("reason" in scrape ? [`${scrape.pod} is unreachable: ${scrape.reason}`] : [])),
      ...(shown.up === undefined ? [] : membersWith(shown.up, 0)).map((member) => `${member} does not answer`),
      ...membersWith(own("refused")).map((member) => `${member} refuses to act: the log of its agent says why`),
    ],
  };
}

function lagOf(lag: Columns["lag"], said: (metric: Metric) => Said[]): Row["lag"] {
  const values = lag === undefined ? [] : said(lag.metric).map(({ value }) => value);
  if (lag === undefined || values.length === 0) return undefined;
  const ahead = lag.of === "the last" ? 0 : Math.min(...values);
  return { value: Math.max(...values) - ahead, unit: lag.unit };
}

function fullest(shares: Share[], said: (metric: Metric) => Said[]): { used: number; limit: number } | undefined {
  const all = shares.flatMap((share) => {
    return said("used" in share ? share.used : share.free).flatMap(({ member, value }) => {
      const other = said("limit" in share ? share.limit : share.free).find((each) => each.member === member)?.value;
      if (other === undefined) return [];
      const limit = "limit" in share ? other : value + other;
      return limit === 0 ? [] : [{ used: "used" in share ? value : limit - value, limit }];
    });
  });
  return all.sort((a, b) => b.used / b.limit - a.used / a.limit)[0];
}

const least = (all: Said[]): number | undefined =>
  all.length === 0 ? undefined : Math.min(...all.map(({ value }) => value));

const newest = (all: Said[]): number | undefined =>
  all.length === 0 ? undefined : Math.max(...all.map(({ value }) => value));

/** All members serve, one leads, and every pod answered. */
export const isWhole = ({ members, ready, leaders, notes }: Row): boolean =>
  ready === members && leaders.length === 1 && notes.length === 0;

const header = ["SERVICE", "READY", "LEADER", "LAG", "CONNECTIONS", "DISK", "CERTIFICATE", "BACKUP", "PROOF"];

/** A row for each service, and a line for each note. `now`: Unix time in seconds. */
export function renderRows(rows: Row[], now: number): string {
  const since = (time: number | undefined): string => (time === undefined ? "-" : `${duration(now - time)} ago`);
  const cells = rows.map((row) => [
    row.name,
    `${row.ready}/${row.members}`,
    row.leaders.join(" and ") || "none",
    row.lag === undefined ? "-" : lagText(row.lag),
    row.connections === undefined ? "-" : `${row.connections.used}/${row.connections.limit}`,
    row.disk === undefined ? "-" : diskText(row.disk),
    row.certificateExpiry === undefined ? "-" : expiryText(row.certificateExpiry - now),
    since(row.lastBackup),
    since(row.lastProof),
  ]);
  const notes = rows.flatMap((row) => row.notes.map((note) => `${row.namespace}/${note}`));
  return `${[table(header, cells), ...(notes.length === 0 ? [] : ["", ...notes])].join("\n")}\n`;
}

const lagText = ({ value, unit }: NonNullable<Row["lag"]>): string =>
  unit === "bytes" ? size(value) : `${Number(value.toFixed(1))} ${unit}`;

const diskText = ({ used, limit }: NonNullable<Row["disk"]>): string =>
  `${Math.round((100 * used) / limit)}% of ${size(limit)}`;

const expiryText = (seconds: number): string => (seconds < 0 ? "ended" : duration(seconds));
