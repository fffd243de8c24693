import * as grpc from "@grpc/grpc-js";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import * as proto from "@pulumi/pulumi/proto/provider_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { type PropertyMap, refreshed, refusals, replacements, type StandIn, typeOf } from "./resource";

/**
 * Serves a stand-in to the engine. `main` of `@pulumi/pulumi/provider` does not do: it knows no settings of a Provider,
 * no resource that is gone, and no old inputs.
 */
export async function serve<Service>(standIn: StandIn<Service>): Promise<void> {
  const server = new grpc.Server();
  server.addService(ResourceProviderService, handlers(standIn));
  // The engine ends its plugins with SIGINT. An engine that was killed says nothing: its plugins get another parent.
  process.on("SIGINT", () => process.exit(0));
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.exit(0);
  }, 2_000).unref();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  // The handshake: the first line of standard output is the port.
  process.stdout.write(`${port}\n`);
}

/**
 * The answers to the engine. What is missing here the engine does itself, since `configure` promises nothing: it shows
 * the inputs alone in a preview, compares inputs where `diff` finds no replacement, and keeps secret what a program
 * gives as a secret or what the SDK calls a secret output.
 */
function handlers<Service>(standIn: StandIn<Service>): grpc.UntypedServiceImplementation {
  const { name } = standIn;
  let service: Service;
  return {
    getPluginInfo: unary(() => {
      const info = new PluginInfo();
      info.setVersion(process.env["PLUGIN_VERSION"] ?? "");
      return info;
    }),
    configure: unary((request: proto.ConfigureRequest) => {
      const settings = withoutKeys(properties(request.getArgs()), { version: "" });
      const [refusal] = refusals(name, "the Provider", standIn.settings, settings);
      if (refusal !== undefined) throw new Error(refusal);
      service = standIn.connect(settings);
      return new proto.ConfigureResponse();
    }),
    check: unary((request: proto.CheckRequest) => {
      const [token, inputs] = [request.getType(), properties(request.getNews())];
      const response = new proto.CheckResponse();
      response.setInputs(request.getNews());
      for (const reason of refusals(name, token, typeOf(standIn, token).inputs, inputs)) {
        const failure = new proto.CheckFailure();
        failure.setReason(reason);
        response.addFailures(failure);
      }
      return response;
    }),
    diff: unary((request: proto.DiffRequest) => {
      const [before, after] = [properties(request.getOldInputs()), properties(request.getNews())];
      const response = new proto.DiffResponse();
      response.setReplacesList(replacements(typeOf(standIn, request.getType()), before, after));
      return response;
    }),
    create: unary(async (request: proto.CreateRequest) => {
      const inputs = properties(request.getProperties());
      const { id, outputs } = await typeOf(standIn, request.getType()).create(service, inputs);
      const response = new proto.CreateResponse();
      response.setId(id);
      response.setProperties(Struct.fromJavaScript({ ...inputs, ...outputs }));
      return response;
    }),
    read: unary(async (request: proto.ReadRequest) => {
      const [id, inputs, state] = [
        request.getId(),
        properties(request.getInputs()),
        properties(request.getProperties()),
      ];
      if (Object.keys(state).length === 0) {
        throw notPart(name, "import");
      }
      const { read = async () => inputs } = typeOf(standIn, request.getType());
      const live = await read(service, id, inputs);
      const response = new proto.ReadResponse();
      if (live === undefined) return response;
      const now = refreshed(inputs, live);
      response.setId(id);
      response.setInputs(Struct.fromJavaScript(now));
      response.setProperties(Struct.fromJavaScript({ ...withoutKeys(state, inputs), ...now }));
      return response;
    }),
    update: unary(async (request: proto.UpdateRequest) => {
      const [token, inputs] = [request.getType(), properties(request.getNews())];
      const { update } = typeOf(standIn, token);
      if (update === undefined) throw notPart(name, `a change of ${token}`);
      await update(service, request.getId(), inputs);
      const outputs = withoutKeys(properties(request.getOlds()), properties(request.getOldInputs()));
      const response = new proto.UpdateResponse();
      response.setProperties(Struct.fromJavaScript({ ...outputs, ...inputs }));
      return response;
    }),
    delete: unary(async (request: proto.DeleteRequest) => {
      const token = request.getType();
      const { delete: remove } = typeOf(standIn, token);
      if (remove === undefined) throw notPart(name, `deletion of ${token}`);
      await remove(service, request.getId(), properties(request.getProperties()));
      return new Empty();
    }),
    invoke: unary((request: proto.InvokeRequest) => {
      throw notPart(name, `the function ${request.getTok()}`);
    }),
  };
}

const notPart = (name: string, what: string): Error =>
  new Error(`${what} is not part of the stand-in for ${name}; use the official plugin`);

function unary<Request, Response>(
  handle: (request: Request) => Promise<Response> | Response,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve(call.request)
      .then(handle)
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback({ code: grpc.status.UNKNOWN, details: explain(error) }),
      );
  };
}

const properties = (struct: Struct | undefined): PropertyMap => struct?.toJavaScript() ?? {};

const withoutKeys = (state: PropertyMap, inputs: PropertyMap): PropertyMap =>
  Object.fromEntries(Object.entries(state).filter(([key]) => !(key in inputs)));

/** AWS says little more than the name of an error, and a connection that is refused nothing but its code. */
function explain(error: unknown): string {
  const { name, message, code } = error as Error & { code?: string };
  return [name === "Error" ? "" : name, message || code].filter(Boolean).join(": ");
}
