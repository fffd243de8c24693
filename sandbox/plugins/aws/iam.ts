import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  ListAccessKeysCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAssumeRolePolicyCommand,
} from "@aws-sdk/client-iam";
import { type PropertyMap, type ResourceType, text } from "../server/resource";
import { type Aws, unlessMissing } from "./calls";

/** IAM writes its documents as parts of a URL. */
const document = (encoded: string | undefined): string => decodeURIComponent(encoded ?? "");

export const role: ResourceType<Aws> = {
  inputs: ["name", "assumeRolePolicy"],
  replaces: ["name"],
  create: async ({ iam }, inputs) => {
    const [RoleName, AssumeRolePolicyDocument] = [text(inputs, "name"), text(inputs, "assumeRolePolicy")];
    await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }));
    return { id: RoleName };
  },
  read: async ({ iam }, RoleName) => {
    const found = await unlessMissing(iam.send(new GetRoleCommand({ RoleName })));
    return found && { assumeRolePolicy: document(found.Role?.AssumeRolePolicyDocument) };
  },
  update: ({ iam }, RoleName, inputs) =>
    iam.send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument: text(inputs, "assumeRolePolicy") })),
  delete: ({ iam }, RoleName) => unlessMissing(iam.send(new DeleteRoleCommand({ RoleName }))),
};

export const user: ResourceType<Aws> = {
  inputs: ["name"],
  replaces: [],
  create: async ({ iam }, inputs) => {
    const UserName = text(inputs, "name");
    await iam.send(new CreateUserCommand({ UserName }));
    return { id: UserName };
  },
  read: async ({ iam }, UserName) => {
    const found = await unlessMissing(iam.send(new GetUserCommand({ UserName })));
    return found && { name: found.User?.UserName };
  },
  delete: ({ iam }, UserName) => unlessMissing(iam.send(new DeleteUserCommand({ UserName }))),
};

/** A policy that is a part of its owner. */
function inlinePolicy(
  owner: "role" | "user",
  calls: {
    put: (aws: Aws, place: Place, PolicyDocument: string) => Promise<unknown>;
    get: (aws: Aws, place: Place) => Promise<{ PolicyDocument: string | undefined }>;
    delete: (aws: Aws, place: Place) => Promise<unknown>;
  },
): ResourceType<Aws> {
  const placeOf = (inputs: PropertyMap): Place => {
    const name = text(inputs, owner);
    return { RoleName: name, UserName: name, PolicyName: text(inputs, "name") };
  };
  const put = (aws: Aws, inputs: PropertyMap) => calls.put(aws, placeOf(inputs), text(inputs, "policy"));
  return {
    inputs: ["name", owner, "policy"],
    replaces: ["name", owner],
    create: async (aws, inputs) => {
      await put(aws, inputs);
      return { id: `${text(inputs, owner)}:${text(inputs, "name")}` };
    },
    read: async (aws, _, inputs) => {
      const found = await unlessMissing(calls.get(aws, placeOf(inputs)));
      return found && { policy: document(found.PolicyDocument) };
    },
    update: (aws, _, inputs) => put(aws, inputs),
    delete: (aws, _, inputs) => unlessMissing(calls.delete(aws, placeOf(inputs))),
  };
}

/** With the owner in both words, of which each command takes its own. */
interface Place {
  RoleName: string;
  UserName: string;
  PolicyName: string;
}

export const rolePolicy = inlinePolicy("role", {
  put: ({ iam }, place, PolicyDocument) => iam.send(new PutRolePolicyCommand({ ...place, PolicyDocument })),
  get: ({ iam }, place) => iam.send(new GetRolePolicyCommand(place)),
  delete: ({ iam }, place) => iam.send(new DeleteRolePolicyCommand(place)),
});

export const userPolicy = inlinePolicy("user", {
  put: ({ iam }, place, PolicyDocument) => iam.send(new PutUserPolicyCommand({ ...place, PolicyDocument })),
  get: ({ iam }, place) => iam.send(new GetUserPolicyCommand(place)),
  delete: ({ iam }, place) => iam.send(new DeleteUserPolicyCommand(place)),
});

export const accessKey: ResourceType<Aws> = {
  inputs: ["user"],
  replaces: ["user"],
  // AWS tells the secret here and never again.
  create: async ({ iam }, inputs) => {
    const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: text(inputs, "user") }));
    return { id: AccessKey?.AccessKeyId ?? "", outputs: { secret: AccessKey?.SecretAccessKey ?? "" } };
  },
  read: async ({ iam }, id, inputs) => {
    const keys = await unlessMissing(iam.send(new ListAccessKeysCommand({ UserName: text(inputs, "user") })));
    return keys?.AccessKeyMetadata?.some(({ AccessKeyId }) => AccessKeyId === id) ? {} : undefined;
  },
  delete: ({ iam }, AccessKeyId, inputs) =>
    unlessMissing(iam.send(new DeleteAccessKeyCommand({ AccessKeyId, UserName: text(inputs, "user") }))),
};
