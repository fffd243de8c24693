/**
 * Runs a Pulumi program against a recording monitor. The mocks of the SDK see neither resource options nor duplicate
 * names and build URNs of one ancestor only; this monitor reads the raw requests that the engine would get.
 */
import * as pulumi from "@pulumi/pulumi";
import type { RegisterResourceRequest } from "@pulumi/pulumi/proto/resource_pb";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks";
import { createResource } from "./providers";
import { asSecret, type Properties, readable, secretStrings } from "./values";

export interface RecordOptions {
  /** As `pulumi preview`: what only a provider can know is unknown. Default: false. */
  preview?: boolean;
  /** Keys without a colon belong to the project. On top of the flags that components want of the default provider. */
  config?: Record<string, string>;
  project?: string;
  stack?: string;
}

interface RecordedOptions {
  /** URN; none for the root stack. */
  parent?: string;
  /** URN of the explicit provider. */
  provider?: string;
  protect?: boolean;
  retainOnDelete?: boolean;
  deleteBeforeReplace?: boolean;
  replacementTrigger?: unknown;
  /** Dependencies that no input explains. */
  dependsOn?: string[];
  propertyDependencies?: Record<string, string[]>;
  aliases?: string[];
  ignoreChanges?: string[];
  replaceOnChanges?: string[];
  additionalSecretOutputs?: string[];
  customTimeouts?: { create?: string; update?: string; delete?: string };
  deletedWith?: string;
  importId?: string;
}

export interface Recorded {
  urn: string;
  type: string;
  name: string;
  custom: boolean;
  /** Secrets redacted, unknown values as `unknown`. */
  inputs: Properties;
  options: RecordedOptions;
}

export interface Graph {
  /** In the order of their registration. */
  resources: Recorded[];
  /** Outputs of the stack, secrets redacted. */
  outputs: Properties;
  /** Every secret text that the program or a provider made, to look for where it must not be. */
  secrets: string[];
  byType(type: string): Recorded[];
  /** By URN or by name; throws unless there is exactly one. */
  get(urnOrName: string): Recorded;
}

/** A program that failed, and what it had registered until then. */
export class ProgramFailure extends Error {
  readonly resources: Recorded[];

  constructor(cause: unknown, resources: Recorded[]) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "ProgramFailure";
    this.resources = resources;
  }
}

const mutableByDefault = {
  "kubernetes:enableConfigMapMutable": "true",
  "kubernetes:enableSecretMutable": "true",
};

const rootType = "pulumi:pulumi:Stack";
let running = false;

/** Runs the program and returns what it registers. Throws a `ProgramFailure` on whatever would fail `pulumi up`. */
export async function record(program: () => unknown, options: RecordOptions = {}): Promise<Graph> {
  // The runtime of the SDK is global: two programs at a time would register their resources with one monitor.
  if (running) throw new Error("a program is being recorded already; await it before the next one");
  running = true;
  const { preview = false, project = "cells-services", stack = "dev", config = {} } = options;
  const ledger = new Ledger(project, stack, preview);
  const rejections = captureRejections();
  const failures: unknown[] = [];
  try {
    await pulumi.runtime.setMocks({ call: refuseCall, newResource: findResource }, project, stack, preview);
    Object.assign(pulumi.runtime.getMonitor() as unknown as MockMonitor, recordingMethods(ledger));
    pulumi.runtime.setAllConfig(
      Object.fromEntries(
        Object.entries({ ...mutableByDefault, ...config }).map(([key, value]) => [
          key.includes(":") ? key : `${project}:${key}`,
          value,
        ]),
      ),
    );
    // As with the engine, a rejection ends the program: what waits for the rejected value would wait for ever.
    await Promise.race([runToTheEnd(program), rejections.first]);
  } catch (error) {
    failures.push(error);
  } finally {
    await settled();
    rejections.release();
    pulumi.runtime.setAllConfig({});
    running = false;
  }
  const failure = [...failures, ...ledger.failures, ...rejections.seen][0];
  if (failure !== undefined) throw new ProgramFailure(failure, ledger.resources);
  return graphOf(ledger);
}

async function runToTheEnd(program: () => unknown): Promise<void> {
  await pulumi.runtime.runInPulumiStack(async () => program());
  await pulumi.runtime.disconnect();
}

/** What the monitor has seen. */
class Ledger {
  readonly resources: Recorded[] = [];
  readonly failures: Error[] = [];
  readonly secrets = new Set<string>();
  outputs: Properties = {};
  readonly project: string;
  readonly stack: string;
  readonly preview: boolean;
  private readonly urns = new Set<string>();

  constructor(project: string, stack: string, preview: boolean) {
    this.project = project;
    this.stack = stack;
    this.preview = preview;
  }

  /** As the engine builds it: the types of all ancestors below the stack. */
  urn(type: string, name: string, parent: string): string {
    const parentType = parent.split("::")[2] ?? "";
    const qualified = parentType === "" || parentType === rootType ? type : `${parentType}$${type}`;
    return `urn:pulumi:${this.stack}::${this.project}::${qualified}::${name}`;
  }

  add(recorded: Recorded): void {
    if (this.urns.has(recorded.urn)) {
      // The program goes on, as it would with the engine; `record` fails at its end.
      this.failures.push(new Error(`two resources have the URN ${recorded.urn}; give one of them another name`));
    }
    this.urns.add(recorded.urn);
    this.resources.push(recorded);
  }

  keepSecrets(properties: Properties): void {
    for (const text of secretStrings(properties)) if (text !== "") this.secrets.add(text);
  }
}

type Respond = (error: Error | null, response?: unknown) => void;

function recordingMethods(ledger: Ledger) {
  return {
    async registerResource(request: RegisterResourceRequest, respond: Respond): Promise<void> {
      const type = request.getType();
      const name = request.getName();
      const urn = ledger.urn(type, name, request.getParent());
      const inputs = (request.getObject()?.toJavaScript() ?? {}) as Properties;
      ledger.keepSecrets(inputs);
      ledger.add({
        urn,
        type,
        name,
        custom: request.getCustom(),
        inputs: readable(inputs) as Properties,
        options: optionsOf(request),
      });
      let created: { id: string | undefined; state: Properties };
      try {
        created = request.getCustom()
          ? createResource({ urn, type, name, inputs, preview: ledger.preview })
          : { id: undefined, state: {} };
      } catch (error) {
        ledger.failures.push(error as Error);
        created = { id: undefined, state: inputs };
      }
      for (const key of request.getAdditionalsecretoutputsList()) {
        if (created.state[key] !== undefined) created.state = { ...created.state, [key]: asSecret(created.state[key]) };
      }
      ledger.keepSecrets(created.state);
      // The SDK's monitor knows how to build the response; only its URN is too short.
      const monitor = new MockMonitor({ call: refuseCall, newResource: () => created });
      await monitor.registerResource(request, (error: Error | null, response?: { setUrn(urn: string): void }) => {
        response?.setUrn(urn);
        respond(error, response);
      });
    },
    registerResourceOutputs(
      request: { getUrn(): string; getOutputs(): { toJavaScript(): Properties } | undefined },
      respond: Respond,
    ): void {
      if (request.getUrn().split("::")[2] === rootType) {
        const outputs = request.getOutputs()?.toJavaScript() ?? {};
        ledger.keepSecrets(outputs);
        ledger.outputs = readable(outputs) as Properties;
      }
      respond(null, {});
    },
    // Missing in the SDK's monitor although it says that it supports hooks.
    registerResourceHook: (_request: unknown, respond: Respond): void => respond(null, {}),
    registerErrorHook: (_request: unknown, respond: Respond): void => respond(null, {}),
  };
}

function optionsOf(request: RegisterResourceRequest): RecordedOptions {
  const byProperty: [string, string[]][] = [];
  request.getPropertydependenciesMap().forEach((dependencies, property) => {
    const urns = [...new Set(dependencies.getUrnsList())].sort();
    if (urns.length > 0) byProperty.push([property, urns]);
  });
  const propertyDependencies = Object.fromEntries(byProperty.sort(([a], [b]) => a.localeCompare(b)));
  const explained = new Set(Object.values(propertyDependencies).flat());
  const aliases = [
    ...request.getAliasurnsList(),
    ...request.getAliasesList().map((alias) => alias.getUrn() || JSON.stringify(alias.getSpec()?.toObject())),
  ];
  const timeouts = request.getCustomtimeouts()?.toObject();
  return compact({
    parent: request.getParent(),
    // A reference to a provider is its URN and its id.
    provider: request.getProvider().split("::").slice(0, 4).join("::"),
    protect: request.getProtect(),
    retainOnDelete: request.getRetainondelete(),
    deleteBeforeReplace: request.getDeletebeforereplacedefined() ? request.getDeletebeforereplace() : undefined,
    replacementTrigger: request.getReplacementTrigger()?.toJavaScript(),
    dependsOn: [...new Set(request.getDependenciesList())].filter((each) => !explained.has(each)).sort(),
    propertyDependencies,
    aliases,
    ignoreChanges: request.getIgnorechangesList(),
    replaceOnChanges: request.getReplaceonchangesList(),
    additionalSecretOutputs: request.getAdditionalsecretoutputsList(),
    customTimeouts:
      timeouts && compact({ create: timeouts.create, update: timeouts.update, delete: timeouts.pb_delete }),
    deletedWith: request.getDeletedwith(),
    importId: request.getImportid(),
  });
}

/** Without what says nothing: no value, false, empty text, list or object. */
function compact<T extends Record<string, unknown>>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const says = (value: unknown): boolean =>
    value !== undefined &&
    value !== false &&
    value !== "" &&
    !(typeof value === "object" && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(object).filter(([, value]) => says(value))) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function graphOf({ resources, outputs, secrets }: Ledger): Graph {
  return {
    resources,
    outputs,
    secrets: [...secrets],
    byType: (type) => resources.filter((each) => each.type === type),
    get(urnOrName) {
      const found = resources.filter((each) => each.urn === urnOrName || each.name === urnOrName);
      if (found.length === 1 && found[0] !== undefined) return found[0];
      const seen = (found.length === 0 ? resources : found).map((each) => `  ${each.urn}`).join("\n");
      throw new Error(
        `${found.length === 0 ? "no" : "more than one"} resource ${JSON.stringify(urnOrName)} in\n${seen}`,
      );
    },
  };
}

function refuseCall(call: { token: string }): never {
  throw new Error(`the program calls ${call.token}: a function of a provider needs a cluster or credentials`);
}

/** Only what the program reads comes here: it is there, and nothing is known of it. */
function findResource({ id }: { id?: string }): { id: string | undefined; state: Properties } {
  return { id, state: {} };
}

/** Takes rejections away from the test runner, whose report names neither the program nor the resource. */
function captureRejections() {
  const others = process.listeners("unhandledRejection");
  const seen: unknown[] = [];
  let ended = (): void => undefined;
  const first = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const listener = (reason: unknown): void => {
    seen.push(reason);
    ended();
  };
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", listener);
  return {
    seen,
    first,
    release(): void {
      process.off("unhandledRejection", listener);
      for (const other of others) process.on("unhandledRejection", other);
    },
  };
}

/** Rejections are reported when the queue of microtasks is empty: after two turns of the event loop all are. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

export { redacted, unknown } from "./values";
