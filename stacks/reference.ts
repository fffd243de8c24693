/** docs/configuration.md, from the schema and from what each environment has when the configuration says nothing. */
import { z } from "zod";
import { tlsDefaults } from "./cells";
import { cellsVersions, type ServiceName, schema, serviceNames } from "./config";
import { environment as dev } from "./dev";
import { environment as prod } from "./prod";
import { defaultArguments } from "./services";

interface Key {
  path: string[];
  type: string;
  meaning: string;
}

export function configurationReference(): string {
  const stackKeys = keysOf(schema).filter(({ path }) => !isService(path[0]));
  return [
    "# Configuration",
    "",
    "<!-- Made from stacks/config.ts: npm run golden -- --update -->",
    "",
    "All keys of a stack file, `Pulumi.<stack>.yaml`. A stack called `dev` or `prod` is of that environment; any other names its",
    "environment. Everything has a default except the cluster. All mistakes are reported at once, before anything is created; a key",
    "that is not in these tables is a mistake.",
    "",
    "```yaml",
    "config:",
    "  cells-services:kubeContext: production",
    "  cells-services:etcd:",
    "    storage: { size: 20Gi, class: gp3 }",
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
    ...table(["key", "value", "meaning"], commonKeys().map(inWords)),
    "",
    "The object store is one server, without `members` and `metrics`, and not part of prod.",
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
    "What the services have of it when the configuration says nothing, with Cells v5, and what only one of them has:",
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

/** Those of every ensemble; a single server has fewer. */
function commonKeys(): Key[] {
  const [first, ...others] = serviceNames
    .filter((service) => service !== "objectstore")
    .map((service) => keysOf(schema.shape[service]));
  const inAll = ({ path }: Key): boolean => others.every((keys) => keys.some((each) => sameKey(each, { path })));
  return (first ?? []).filter(inAll);
}

const sameKey = (a: Pick<Key, "path">, b: Pick<Key, "path">): boolean => a.path.join() === b.path.join();

function section(service: ServiceName): string[] {
  const common = commonKeys();
  const rows = keysOf(schema.shape[service]).flatMap((key) => {
    const [inDev, inProd] = [dev, prod].map((each) => shown(valueAt(defaultArguments(service, each, "v5"), key.path)));
    const isOwn = !common.some((each) => sameKey(each, key));
    if (!isOwn && inDev === none && inProd === none) return [];
    return [[code(key.path.join(".")), inDev ?? "", inProd ?? "", isOwn ? `${key.type}: ${key.meaning}` : ""]];
  });
  return [`### ${service}`, "", ...table(["key", "in dev", "in prod", "only here"], rows), ""];
}

/** Every key that holds a value, in the order of the schema. A key without a meaning is a mistake here. */
function keysOf(type: z.ZodType, path: string[] = []): Key[] {
  const inner = unwrapped(type);
  if (inner instanceof z.ZodObject) {
    return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([key, each]) =>
      keysOf(each, [...path, key]),
    );
  }
  const meaning = type.description;
  if (meaning === undefined) throw new Error(`${path.join(".")} has no description in stacks/config.ts`);
  return [{ path, type: typeName(inner), meaning }];
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

function unwrapped(type: z.ZodType): z.ZodType {
  return type instanceof z.ZodOptional || type instanceof z.ZodDefault || type instanceof z.ZodPrefault
    ? unwrapped(type.unwrap() as z.ZodType)
    : type;
}

function valueAt(value: unknown, path: string[]): unknown {
  return path.reduce<unknown>((each, key) => (each as Record<string, unknown> | undefined)?.[key], value);
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
