import * as grpc from "@grpc/grpc-js";
import { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb";
import { LogRequest, LogSeverity } from "@pulumi/pulumi/proto/engine_pb";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import * as proto from "@pulumi/pulumi/proto/provider_pb";
import { Status } from "@pulumi/pulumi/proto/status_pb";
import { Any } from "google-protobuf/google/protobuf/any_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import {
  type Context,
  type Difference,
  type DiffKind,
  InitializationError,
  type Log,
  type Provider,
  type ResourceRequest,
  type Severity,
} from "./provider";
import { decode, encode } from "./values";

// The engine sends whole stacks of Secrets and ConfigMaps at once; the default of 4 MiB is too small for that.
const messageLimit = 400 * 1024 * 1024;

/**
 * Serves a provider to the engine: the counterpart of `main` in `@pulumi/pulumi/provider`, which has no previews, no
 * time-outs, no secrets, no detailed differences, no cancellation and no way to report a half-made resource on update.
 */
export async function serve(provider: Provider): Promise<void> {
  const engine = connectEngine(process.argv.slice(2).find((argument) => !argument.startsWith("-")));
  const cancellation = new AbortController();
  const context: Context = { log: engine.log, signal: cancellation.signal };
  const server = new grpc.Server({
    "grpc.max_receive_message_length": messageLimit,
    "grpc.max_send_message_length": messageLimit,
  });
  server.addService(ResourceProviderService, handlers(provider, context, engine.attach, cancellation));
  // The engine ends its plugins with SIGINT; they have a process group of their own, so none comes from a terminal.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      cancellation.abort(new Error(`stopped by ${signal}`));
      server.forceShutdown();
      process.exit(0);
    });
  }
  // An engine that was killed says nothing: another parent is how its plugins notice.
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.exit(0);
  }, 2_000).unref();
  process.on("unhandledRejection", (reason) => {
    context.log("error", `${provider.name} stand-in: ${reason instanceof Error ? reason.message : String(reason)}`);
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  // The handshake: the first line of standard output is the port, and nothing else may come before it.
  process.stdout.write(`${port}\n`);
  process.stderr.write(`stand-in for the official ${provider.name} plugin v${provider.version}\n`);
}

interface Engine {
  log: Log;
  attach: (address: string) => void;
}

function connectEngine(address: string | undefined): Engine {
  let client = address === undefined ? undefined : engineClient(address);
  const severities: Record<Severity, LogSeverity> = {
    debug: LogSeverity.DEBUG,
    info: LogSeverity.INFO,
    warning: LogSeverity.WARNING,
    error: LogSeverity.ERROR,
  };
  return {
    attach: (next) => {
      client = engineClient(next);
    },
    log: (severity, message, options = {}) => {
      const request = new LogRequest();
      request.setSeverity(severities[severity]);
      request.setMessage(message);
      request.setUrn(options.urn ?? "");
      request.setEphemeral(options.status ?? false);
      // A lost line of the display must not fail the operation it tells about.
      client?.log(request, () => undefined);
    },
  };
}

function engineClient(address: string): EngineClient {
  return new EngineClient(address, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": messageLimit,
    "grpc.max_send_message_length": messageLimit,
  });
}

type Handler<Request, Response> = (request: Request) => Promise<Response> | Response;

function unary<Request, Response>(handle: Handler<Request, Response>): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve()
      .then(() => handle(call.request))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(serviceError(error)),
      );
  };
}

function handlers(
  provider: Provider,
  context: Context,
  attach: (address: string) => void,
  cancellation: AbortController,
): grpc.UntypedServiceImplementation {
  return {
    handshake: unary((request: proto.ProviderHandshakeRequest) => {
      attach(request.getEngineAddress());
      const response = new proto.ProviderHandshakeResponse();
      response.setAcceptSecrets(true);
      return response;
    }),
    attach: unary((request: { getAddress(): string }) => {
      attach(request.getAddress());
      return new Empty();
    }),
    getPluginInfo: unary(() => {
      const info = new PluginInfo();
      info.setVersion(provider.version);
      return info;
    }),
    getSchema: unary(() => {
      const response = new proto.GetSchemaResponse();
      response.setSchema(JSON.stringify({ name: provider.name, version: provider.version }));
      return response;
    }),
    cancel: unary(() => {
      cancellation.abort(new Error("cancelled"));
      return new Empty();
    }),
    checkConfig: unary(async (request: proto.CheckRequest) => {
      const news = decode(request.getNews());
      return checkResponse(news, (await provider.checkConfig?.(news)) ?? []);
    }),
    diffConfig: unary(async (request: proto.DiffRequest) => {
      const olds = request.hasOldInputs() ? request.getOldInputs() : request.getOlds();
      const difference = await provider.diffConfig?.(decode(olds).value, decode(request.getNews()).value);
      return diffResponse(difference ?? { changed: false, detailed: {}, deleteBeforeReplace: false });
    }),
    configure: unary(async (request: proto.ConfigureRequest) => {
      await provider.configure(decode(request.getArgs()).value, context);
      const response = new proto.ConfigureResponse();
      response.setAcceptsecrets(true);
      response.setSupportspreview(true);
      return response;
    }),
    check: unary(async (request: proto.CheckRequest) => {
      const { inputs, failures } = await provider.check({
        ...resource(request.getUrn()),
        olds: request.hasOlds() ? decode(request.getOlds()) : undefined,
        news: decode(request.getNews()),
        randomSeed: Buffer.from(request.getRandomseed_asU8()),
      });
      return checkResponse(inputs, failures);
    }),
    diff: unary(async (request: proto.DiffRequest) => {
      const oldState = decode(request.getOlds());
      const difference = await provider.diff(
        {
          ...resource(request.getUrn()),
          id: request.getId(),
          oldState,
          oldInputs: request.hasOldInputs() ? decode(request.getOldInputs()) : oldState,
          news: decode(request.getNews()),
          ignoreChanges: request.getIgnorechangesList(),
        },
        context,
      );
      return diffResponse(difference);
    }),
    create: unary(async (request: proto.CreateRequest) => {
      const { id, state } = await provider.create(
        {
          ...resource(request.getUrn()),
          inputs: decode(request.getProperties()),
          preview: request.getPreview(),
          timeoutSeconds: request.getTimeout(),
        },
        context,
      );
      const response = new proto.CreateResponse();
      response.setId(id);
      response.setProperties(encode(state));
      return response;
    }),
    read: unary(async (request: proto.ReadRequest) => {
      const result = await provider.read(
        {
          ...resource(request.getUrn()),
          id: request.getId(),
          inputs: decode(request.getInputs()),
          state: decode(request.getProperties()),
        },
        context,
      );
      const response = new proto.ReadResponse();
      if (result === undefined) return response;
      response.setId(result.id);
      response.setProperties(encode(result.state));
      response.setInputs(encode(result.inputs));
      return response;
    }),
    update: unary(async (request: proto.UpdateRequest) => {
      const oldState = decode(request.getOlds());
      const state = await provider.update(
        {
          ...resource(request.getUrn()),
          id: request.getId(),
          oldState,
          oldInputs: request.hasOldInputs() ? decode(request.getOldInputs()) : oldState,
          inputs: decode(request.getNews()),
          preview: request.getPreview(),
          timeoutSeconds: request.getTimeout(),
        },
        context,
      );
      const response = new proto.UpdateResponse();
      response.setProperties(encode(state));
      return response;
    }),
    delete: unary(async (request: proto.DeleteRequest) => {
      await provider.delete(
        {
          ...resource(request.getUrn()),
          id: request.getId(),
          inputs: decode(request.getOldInputs()),
          state: decode(request.getProperties()),
          timeoutSeconds: request.getTimeout(),
        },
        context,
      );
      return new Empty();
    }),
    invoke: unary((request: proto.InvokeRequest) => {
      throw unimplemented(`function ${request.getTok()}`, provider);
    }),
    construct: unary((request: proto.ConstructRequest) => {
      throw unimplemented(`component ${request.getType()}`, provider);
    }),
    call: unary((request: proto.CallRequest) => {
      throw unimplemented(`method ${request.getTok()}`, provider);
    }),
  };
}

function unimplemented(what: string, provider: Provider): Error {
  return new Error(`${what} is not part of the stand-in for ${provider.name}; it needs the official plugin`);
}

/** `urn:pulumi:stack::project::parentType$type::name` */
export function resource(urn: string): ResourceRequest {
  const parts = urn.split("::");
  return { urn, type: parts[2]?.split("$").at(-1) ?? "", name: parts.slice(3).join("::") };
}

function checkResponse(inputs: Parameters<typeof encode>[0], failures: { property: string; reason: string }[]) {
  const response = new proto.CheckResponse();
  response.setInputs(encode(inputs));
  for (const { property, reason } of failures) {
    const failure = new proto.CheckFailure();
    failure.setProperty(property);
    failure.setReason(reason);
    response.addFailures(failure);
  }
  return response;
}

const kinds: Record<DiffKind, proto.PropertyDiff.Kind> = {
  add: proto.PropertyDiff.Kind.ADD,
  "add-replace": proto.PropertyDiff.Kind.ADD_REPLACE,
  delete: proto.PropertyDiff.Kind.DELETE,
  "delete-replace": proto.PropertyDiff.Kind.DELETE_REPLACE,
  update: proto.PropertyDiff.Kind.UPDATE,
  "update-replace": proto.PropertyDiff.Kind.UPDATE_REPLACE,
};

function diffResponse(difference: Difference): proto.DiffResponse {
  const response = new proto.DiffResponse();
  const { DIFF_NONE, DIFF_SOME } = proto.DiffResponse.DiffChanges;
  response.setChanges(difference.changed ? DIFF_SOME : DIFF_NONE);
  response.setDeletebeforereplace(difference.deleteBeforeReplace);
  response.setHasdetaileddiff(Object.keys(difference.detailed).length > 0);
  const tops = new Set<string>();
  for (const [path, kind] of Object.entries(difference.detailed)) {
    const entry = new proto.PropertyDiff();
    entry.setKind(kinds[kind]);
    entry.setInputdiff(true);
    response.getDetaileddiffMap().set(path, entry);
    tops.add(path.split(/[.[]/, 1)[0] ?? path);
    if (kind.endsWith("-replace")) response.addReplaces(path);
  }
  response.setDiffsList([...tops]);
  return response;
}

function serviceError(error: unknown): Partial<grpc.StatusObject> {
  const message = error instanceof Error ? error.message : String(error);
  const metadata = new grpc.Metadata();
  if (error instanceof InitializationError) {
    const detail = new proto.ErrorResourceInitFailed();
    detail.setId(error.id);
    detail.setProperties(encode(error.state));
    if (error.inputs !== undefined) detail.setInputs(encode(error.inputs));
    detail.setReasonsList(error.reasons);
    const any = new Any();
    any.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
    const status = new Status();
    status.setCode(grpc.status.UNKNOWN);
    status.setMessage(message);
    status.addDetails(any);
    // Where gRPC looks for structured errors.
    metadata.add("grpc-status-details-bin", Buffer.from(status.serializeBinary()));
  }
  return { code: grpc.status.UNKNOWN, details: message, metadata };
}
