/** The tables in the pages: of arguments, from the schemas and from what each environment has; of metrics and alerts. */
import { z } from "zod";
import { etcdAlerts } from "../components/etcd/alerts";
import { etcdMetrics } from "../components/etcd/metrics";
import { mongodbAlerts } from "../components/mongodb/alerts";
import { mongodbMetrics } from "../components/mongodb/metrics";
import { mysqlAlerts } from "../components/mysql/alerts";
import { mysqlMetrics } from "../components/mysql/metrics";
import { natsAlerts } from "../components/nats/alerts";
import { natsMetrics } from "../components/nats/metrics";
import { redisAlerts } from "../components/redis/alerts";
import { redisMetrics } from "../components/redis/metrics";
import { ensembleMetrics, type Metrics, memberMetrics, metricPrefix } from "../components/shared/core/metrics";
import { type Alert, type Scope, valueAt } from "../components/shared/deploy";
import { vaultAlerts } from "../components/vault/alerts";
import { vaultMetrics } from "../components/vault/metrics";
import { tlsDefaults } from "./cells";
import {
  cellsVersions,
  reasonKeys,
  type ServiceName,
  schema,
  serviceNames,
  services,
  shapeOf,
  unwrapped,
} from "./config";
import { environment as dev } from "./dev";
import { merged } from "./merge";
import { environment as prod } from "./prod";
import { components, type Environment } from "./services";

interface Key {
  path: string[];
  type: string;
  meaning: string;
  required: boolean;
  default: unknown;
}

export function configurationReference(): string {
  const stackKeys = keysOf(schema).filter(({ path }) => !isService(path[0]));
  return [
    "# Configuration",
    "",
    "<!-- Made from the schemas: npm run golden -- --update -->",
    "",
    "All keys of a stack file, `Pulumi.<stack>.yaml`. A stack called `dev` or `prod` is of that environment; any other names its",
    "environment. Everything has a default except the cluster. All mistakes are reported at once, before anything is created; a key",
    "that is not in these tables is a mistake.",
    "",
    "```yaml",
    "config:",
    "  cells-services:kubeContext: production",
    "  cells-services:etcd:",
    "    storage: { size: 20Gi }",
    "```",
    "",
    "## The stack",
    "",
    ...table(["key", "value", "meaning"], stackKeys.map(inWords)),
    "",
    "## Every service",
    "",
    "Below the name of the service: `members` is `cells-services:etcd.members`, `cells-services:nats.members` and so on.",
    "",
    ...table(["key", "value", "meaning"], inAll((service) => services[service]).map(inWords)),
    "",
    "The object store is one server, without `members` and `metrics`, and not part of prod. In prod the default of `storage.class` is a class",
    "that the stack makes (gp3, encrypted).",
    "",
    "## TLS",
    "",
    "The default of `tls`, in dev and prod alike, is what the version of Cells in `cells.version` can do. Only with `required` does Cells",
    "connect over TLS; with `optional` everybody else can. What is given as `tls` itself needs a `tlsReason` in prod.",
    "",
    ...table(
      ["service", ...cellsVersions.map((each) => `with Cells ${each}`), "why not `required`"],
      serviceNames.map(tlsRow),
    ),
    "",
    "## Each service",
    "",
    "The defaults of each service in dev and prod, with Cells v5. The column `here` says what is special about an argument of this service:",
    "",
    ...serviceNames.flatMap(section),
  ].join("\n");
}

function isService(name: string | undefined): boolean {
  return serviceNames.some((each) => each === name);
}

function tlsRow(service: ServiceName): string[] {
  const defaults = tlsDefaults[service];
  const reasons = cellsVersions.flatMap((each) => {
    const known = defaults[each];
    return known.mode === "required" ? [] : [known.reason];
  });
  return [service, ...cellsVersions.map((each) => code(defaults[each].mode)), [...new Set(reasons)].join("; ")];
}

/** Of docs/services.md: what all services have but the object store, which has less. */
export function commonArguments(): string {
  const rows = commonKeys().map((key) => {
    const defaults = ensembles.map((service) => standard(keyOf(service, key)));
    const same = defaults.every((each) => each === defaults[0]);
    return [code(key.path.join(".")), key.type, same ? (defaults[0] ?? "") : "of the service", key.meaning];
  });
  return table(argumentHead, rows).join("\n");
}

/** Of the page of a service: the arguments that only this service has, and the common ones that differ. */
export function ownArguments(service: ServiceName): string {
  const rows = keysOf(components[service].schema).flatMap((key) => {
    const here = differs(service, key);
    const others = ensembles.filter((each) => each !== service).map((each) => standard(keyOf(each, key)));
    if (here === "" && others.every((each) => each === standard(key))) return [];
    return [[code(key.path.join(".")), key.type, standard(key), here]];
  });
  return table(argumentHead, rows).join("\n");
}

const argumentHead = ["argument", "value", "default", "meaning"];
const ensembles = serviceNames.filter((service) => service !== "objectstore");

const commonKeys = (): Key[] => inAll((service) => components[service].schema);

/** Those of every ensemble; a single server has fewer. */
function inAll(schemaOf: (service: ServiceName) => z.ZodType): Key[] {
  const [first = [], ...others] = ensembles.map((service) => keysOf(schemaOf(service)));
  return first.filter((key) => others.every((keys) => keys.some((each) => sameKey(each, key))));
}

const sameKey = (a: Key, b: Key): boolean => a.path.join() === b.path.join();

function keyOf(service: ServiceName, key: Key): Key | undefined {
  return keysOf(components[service].schema).find((each) => sameKey(each, key));
}

/** What to know of an argument beyond what is said of it for all services. */
function differs(service: ServiceName, key: Key): string {
  const common = commonKeys().find((each) => sameKey(each, key));
  const note = components[service].profile.notes?.[key.path.join(".")];
  return [common?.meaning === key.meaning ? "" : key.meaning, note ?? ""].filter((each) => each !== "").join("; ");
}

function standard(key: Key | undefined): string {
  return key === undefined ? "" : key.required ? "required" : shown(key.default);
}

function section(service: ServiceName): string[] {
  const isCommon = (key: Key): boolean => commonKeys().some((each) => sameKey(each, key));
  const rows = keysOf(services[service]).flatMap((key) => {
    const [inDev = none, inProd = none] = [dev, prod].map((each) => shown(inEnvironment(service, each, key)));
    const here = differs(service, key);
    if (reasonKeys.some((each) => each === key.path[0]) || (here === "" && inDev === none && inProd === none))
      return [];
    return [[code(key.path.join(".")), inDev, inProd, isCommon(key) ? here : `${key.type}: ${here}`]];
  });
  return [`### ${service}`, "", ...table(["key", "in dev", "in prod", "here"], rows), ""];
}

/** What a service has in an environment, with Cells v5, when the configuration says nothing. */
function inEnvironment(service: ServiceName, environment: Environment, key: Key): unknown {
  const own = environment.services[service];
  if (own === undefined) return undefined;
  const given = valueAt({ tls: tlsDefaults[service].v5.mode, ...own }, key.path);
  const standard = keyOf(service, key)?.default;
  const areObjects = [given, standard].every((each) => typeof each === "object" && !Array.isArray(each));
  return areObjects ? merged(standard as object, given as object) : (given ?? standard);
}

/** Of the agents of one service. Those of vault, redis, mongodb and mysql run beside its servers. */
const ownMetrics = {
  etcd: etcdMetrics,
  vault: vaultMetrics,
  nats: natsMetrics,
  redis: redisMetrics,
  mongodb: mongodbMetrics,
  mysql: mysqlMetrics,
};

/** Of docs/monitoring.md: all that agents say. */
export function metricTable(): string {
  const rows = (metrics: Metrics, services: string, prefix = metricPrefix): string[][] =>
    Object.entries(metrics).map(([name, { help, labels = [] }]) => {
      return [code(prefix + name), unitOf(name, help), labels.map(code).join(", "), services, help];
    });
  const ofServices = Object.entries(ownMetrics).flatMap(([service, metrics]) =>
    rows(metrics, service, `${metricPrefix}${service}_`),
  );
  const all = [...rows(memberMetrics, "vault, redis, mongodb, mysql"), ...rows(ensembleMetrics, "all"), ...ofServices];
  return table(["metric", "unit", "labels", "service", "meaning"], all).join("\n");
}

/** Last words of names, the longer ones first. */
const units = { timestamp_seconds: "Unix time in seconds", seconds: "seconds", bytes: "bytes", ratio: "0 to 1" };

function unitOf(name: string, help: string): string {
  const [, unit] = Object.entries(units).find(([word]) => name.endsWith(`_${word}`)) ?? [];
  return unit ?? (/^[01]: /.test(help) ? "0 or 1" : "number");
}

const alertRules: Partial<Record<ServiceName, (scope: Scope) => Alert[]>> = {
  etcd: etcdAlerts,
  vault: vaultAlerts,
  nats: natsAlerts,
  redis: redisAlerts,
  mongodb: mongodbAlerts,
  mysql: mysqlAlerts,
};

/** Of an ensemble of three with backups, if the service has them: all alerts of the service. */
export function alertsOf(service: ServiceName): Alert[] {
  const [name, namespace] = [service, "cells"];
  const pods = { member: "", gateway: "", agent: "" };
  const hasBackups = keysOf(components[service].schema).some(({ path }) => path[0] === "backups");
  const backups = hasBackups ? { copy: 1, proof: 1 } : undefined;
  return (
    alertRules[service]?.({
      service,
      name,
      namespace,
      members: 3,
      ...pods,
      tls: "required",
      lifetimeDays: 90,
      backups,
    }) ?? []
  );
}

/** Of docs/monitoring.md: a table for each service. */
export function alertTables(): string {
  const filled = (summary: string): string =>
    summary.replaceAll(/\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}/g, (_, name: string) => code(`<${name}>`));
  const row = ({ name, severity, for: duration, summary, page }: Alert): string[] => {
    return [code(name), severity, duration, filled(summary), `[${page.replace("#", ", ")}](${page})`];
  };
  const head = ["alert", "severity", "after", "meaning", "page"];
  return ensembles
    .flatMap((service) => [`### ${service}`, "", ...table(head, alertsOf(service).map(row)), ""])
    .join("\n")
    .trimEnd();
}

/** Every key that holds a value, in the order of the schema. A key without a meaning is a mistake here. */
function keysOf(type: z.ZodType, path: string[] = [], optional = false): Key[] {
  const inner = unwrapped(type);
  if (inner instanceof z.ZodUndefined) return [];
  const isOptional = optional || type instanceof z.ZodOptional;
  const shape = shapeOf(type);
  const meaning = type.description ?? inner.description;
  // The keys of the stack's `pod`, which has a meaning of its own, are in the table of the arguments that all services have.
  if (shape !== undefined && (meaning === undefined || path.join(".") !== "pod"))
    return Object.entries(shape).flatMap(([key, each]) => keysOf(each, [...path, key], isOptional));
  if (meaning === undefined) throw new Error(`${path.join(".")} has no description in its schema`);
  const standard = type instanceof z.ZodDefault ? type.def.defaultValue : undefined;
  return [{ path, type: typeName(inner), meaning, required: inner === type && !optional, default: standard }];
}

function typeName(type: z.ZodType): string {
  if (type instanceof z.ZodEnum) return type.options.map((each) => code(String(each))).join(" or ");
  if (type instanceof z.ZodArray) {
    const element = unwrapped(type.element as z.ZodType);
    return element instanceof z.ZodEnum ? `list of ${typeName(element)}` : "list";
  }
  if (type instanceof z.ZodNumber) return "number";
  if (type instanceof z.ZodBoolean) return "`true` or `false`";
  if (type instanceof z.ZodUnion) return type.options.map((each) => typeName(each as z.ZodType)).join(" or ");
  return type instanceof z.ZodRecord || type instanceof z.ZodObject ? "object" : "text";
}

const none = "none";

function shown(value: unknown): string {
  const empty = value === undefined || (typeof value === "object" && Object.keys(value ?? {}).length === 0);
  return empty ? none : code(typeof value === "string" ? value : JSON.stringify(value));
}

const code = (text: string): string => `\`${text}\``;
const inWords = ({ path, type, meaning }: Key): string[] => [code(path.join(".")), type, meaning];

function table(head: string[], rows: string[][]): string[] {
  const line = (cells: string[]): string => `| ${cells.map((each) => each.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}
