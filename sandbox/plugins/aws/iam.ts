import {
  type AccessKeyMetadata,
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  GetAccessKeyLastUsedCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  paginateListAccessKeys,
  type StatusType,
  TagRoleCommand,
  TagUserCommand,
  UntagRoleCommand,
  UntagUserCommand,
  UpdateAccessKeyCommand,
  UpdateAssumeRolePolicyCommand,
  UpdateRoleCommand,
} from "@aws-sdk/client-iam";
import type { PropertyMap } from "../server/values";
import type { Aws } from "./configuration";
import {
  changeTags,
  fields,
  flag,
  optional,
  type ResourceType,
  tagPairs,
  tagProperties,
  text,
  unlessMissing,
} from "./type";

const missing = ["NoSuchEntity", "NoSuchEntityException"];
// AWS's own: one hour.
const defaultSessionSeconds = 3600;
const sessionSeconds = (inputs: PropertyMap) => Number(inputs["maxSessionDuration"] ?? defaultSessionSeconds);

const numbered = (logicalName: string, digits: string) => `${logicalName}-${digits}`;

/** IAM writes its documents as parts of a URL. */
const document = (encoded: string | undefined): string => decodeURIComponent(encoded ?? "");

export const role: ResourceType = {
  inputs: {
    name: "text",
    assumeRolePolicy: "policy",
    description: "text",
    maxSessionDuration: "number",
    tags: "tags",
  },
  required: ["assumeRolePolicy"],
  replaces: ["name"],
  chosen: ["name"],
  defaults: { maxSessionDuration: defaultSessionSeconds },
  name: { key: "name", make: (logicalName, digits) => numbered(logicalName.slice(0, 56), digits) },
  outputs: { arn: undefined, createDate: undefined, path: undefined, uniqueId: undefined, tagsAll: "tags" },
  create: async (aws, inputs) => {
    const RoleName = text(inputs, "name");
    await aws.iam.send(
      new CreateRoleCommand({
        RoleName,
        AssumeRolePolicyDocument: text(inputs, "assumeRolePolicy"),
        ...optional("Description", text(inputs, "description")),
        MaxSessionDuration: sessionSeconds(inputs),
        Tags: tagPairs(fields(inputs, "tags")),
      }),
    );
    return RoleName;
  },
  read: async (aws, RoleName) => {
    const { Role: found } = (await unlessMissing(missing, () => aws.iam.send(new GetRoleCommand({ RoleName })))) ?? {};
    if (found === undefined) return undefined;
    return {
      arn: found.Arn ?? "",
      createDate: found.CreateDate?.toISOString() ?? "",
      path: found.Path ?? "/",
      uniqueId: found.RoleId ?? "",
      name: RoleName,
      assumeRolePolicy: document(found.AssumeRolePolicyDocument),
      description: found.Description ?? "",
      maxSessionDuration: found.MaxSessionDuration ?? defaultSessionSeconds,
      ...tagProperties((found.Tags ?? []).map(({ Key, Value }) => [Key, Value])),
    };
  },
  update: async (aws, RoleName, inputs, changed, before) => {
    if (changed("assumeRolePolicy")) {
      const PolicyDocument = text(inputs, "assumeRolePolicy");
      await aws.iam.send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument }));
    }
    if (changed("description") || changed("maxSessionDuration")) {
      const Description = text(inputs, "description");
      await aws.iam.send(new UpdateRoleCommand({ RoleName, Description, MaxSessionDuration: sessionSeconds(inputs) }));
    }
    if (changed("tags")) {
      await changeTags(before, inputs, {
        untag: (TagKeys) => aws.iam.send(new UntagRoleCommand({ RoleName, TagKeys })),
        tag: (Tags) => aws.iam.send(new TagRoleCommand({ RoleName, Tags })),
      });
    }
  },
  delete: async (aws, RoleName) => {
    await unlessMissing(missing, () => aws.iam.send(new DeleteRoleCommand({ RoleName })));
  },
};

export const user: ResourceType = {
  inputs: { name: "text", forceDestroy: "flag", tags: "tags" },
  required: [],
  replaces: [],
  chosen: ["name"],
  untold: ["forceDestroy"],
  name: { key: "name", make: numbered },
  outputs: { arn: undefined, path: undefined, uniqueId: undefined, tagsAll: "tags" },
  create: async (aws, inputs) => {
    const UserName = text(inputs, "name");
    await aws.iam.send(new CreateUserCommand({ UserName, Tags: tagPairs(fields(inputs, "tags")) }));
    return UserName;
  },
  read: async (aws, UserName) => {
    const { User: found } = (await unlessMissing(missing, () => aws.iam.send(new GetUserCommand({ UserName })))) ?? {};
    if (found === undefined) return undefined;
    return {
      arn: found.Arn ?? "",
      path: found.Path ?? "/",
      uniqueId: found.UserId ?? "",
      name: UserName,
      ...tagProperties((found.Tags ?? []).map(({ Key, Value }) => [Key, Value])),
    };
  },
  update: async (aws, UserName, inputs, changed, before) => {
    // The id is the name, and an update cannot change it: whatever was made for the user would look for the old one.
    if (changed("name")) {
      const wanted = `name cannot go from ${UserName} to ${text(inputs, "name")}`;
      throw new Error(`${wanted}; give the resource another name as well, which makes a new user`);
    }
    if (changed("tags")) {
      await changeTags(before, inputs, {
        untag: (TagKeys) => aws.iam.send(new UntagUserCommand({ UserName, TagKeys })),
        tag: (Tags) => aws.iam.send(new TagUserCommand({ UserName, Tags })),
      });
    }
  },
  delete: async (aws, UserName, state) => {
    await unlessMissing(missing, async () => {
      if (flag(state, "forceDestroy")) {
        for (const { AccessKeyId } of await accessKeysOf(aws, UserName)) {
          await aws.iam.send(new DeleteAccessKeyCommand({ UserName, AccessKeyId }));
        }
      }
      await aws.iam.send(new DeleteUserCommand({ UserName }));
    });
  },
};

/** A policy that is a part of its owner: it has a name there, and no ARN. */
function inlinePolicy(
  owner: "role" | "user",
  calls: {
    put: (aws: Aws, owner: string, name: string, policy: string) => Promise<unknown>;
    get: (aws: Aws, owner: string, name: string) => Promise<{ PolicyDocument: string | undefined }>;
    delete: (aws: Aws, owner: string, name: string) => Promise<unknown>;
  },
): ResourceType {
  const placeOf = (id: string): [owner: string, name: string] => {
    const [ownerName = "", name = ""] = id.split(":");
    if (ownerName === "" || name === "") throw new Error(`the id must be ${owner}:policy, got ${JSON.stringify(id)}`);
    return [ownerName, name];
  };
  return {
    inputs: { name: "text", [owner]: "text", policy: "policy" },
    required: [owner, "policy"],
    replaces: ["name", owner],
    chosen: ["name"],
    name: { key: "name", make: numbered },
    outputs: {},
    create: async (aws, inputs) => {
      const id = `${text(inputs, owner)}:${text(inputs, "name")}`;
      await calls.put(aws, ...placeOf(id), text(inputs, "policy"));
      return id;
    },
    read: async (aws, id) => {
      const [ownerName, name] = placeOf(id);
      const found = await unlessMissing(missing, () => calls.get(aws, ownerName, name));
      if (found === undefined) return undefined;
      return { name, [owner]: ownerName, policy: document(found.PolicyDocument) };
    },
    update: async (aws, id, inputs) => {
      await calls.put(aws, ...placeOf(id), text(inputs, "policy"));
    },
    delete: async (aws, id) => {
      await unlessMissing(missing, () => calls.delete(aws, ...placeOf(id)));
    },
  };
}

export const rolePolicy: ResourceType = inlinePolicy("role", {
  put: (aws, RoleName, PolicyName, PolicyDocument) =>
    aws.iam.send(new PutRolePolicyCommand({ RoleName, PolicyName, PolicyDocument })),
  get: (aws, RoleName, PolicyName) => aws.iam.send(new GetRolePolicyCommand({ RoleName, PolicyName })),
  delete: (aws, RoleName, PolicyName) => aws.iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName })),
});

export const userPolicy: ResourceType = inlinePolicy("user", {
  put: (aws, UserName, PolicyName, PolicyDocument) =>
    aws.iam.send(new PutUserPolicyCommand({ UserName, PolicyName, PolicyDocument })),
  get: (aws, UserName, PolicyName) => aws.iam.send(new GetUserPolicyCommand({ UserName, PolicyName })),
  delete: (aws, UserName, PolicyName) => aws.iam.send(new DeleteUserPolicyCommand({ UserName, PolicyName })),
});

const active = "Active";

export const accessKey: ResourceType = {
  inputs: { user: "text", status: "text" },
  required: ["user"],
  replaces: ["user"],
  defaults: { status: active },
  outputs: { createDate: undefined },
  toldOnce: ["secret"],
  create: async (aws, inputs) => {
    const { AccessKey } = await aws.iam.send(new CreateAccessKeyCommand({ UserName: text(inputs, "user") }));
    return { id: AccessKey?.AccessKeyId ?? "", toldOnce: { secret: AccessKey?.SecretAccessKey ?? "" } };
  },
  // AWS makes active ones only.
  complete: async (aws, id, inputs) => {
    if (text(inputs, "status") !== active) await setStatus(aws, id, inputs);
  },
  read: async (aws, id, before) => {
    const UserName = text(before, "user") || (await userOf(aws, id));
    if (UserName === undefined) return undefined;
    const found = (await accessKeysOf(aws, UserName)).find(({ AccessKeyId }) => AccessKeyId === id);
    if (found === undefined) return undefined;
    return { user: UserName, status: found.Status ?? active, createDate: found.CreateDate?.toISOString() ?? "" };
  },
  update: async (aws, id, inputs, changed) => {
    if (changed("status")) await setStatus(aws, id, inputs);
  },
  delete: async (aws, AccessKeyId, state) => {
    const UserName = text(state, "user");
    await unlessMissing(missing, () => aws.iam.send(new DeleteAccessKeyCommand({ UserName, AccessKeyId })));
  },
};

async function setStatus(aws: Aws, AccessKeyId: string, inputs: PropertyMap): Promise<void> {
  const Status = text(inputs, "status") as StatusType;
  await aws.iam.send(new UpdateAccessKeyCommand({ UserName: text(inputs, "user"), AccessKeyId, Status }));
}

/** Whose key it is, where only its id is known. */
async function userOf(aws: Aws, AccessKeyId: string): Promise<string | undefined> {
  const used = await unlessMissing(missing, () => aws.iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId })));
  return used?.UserName;
}

/** None where there is no such user. */
async function accessKeysOf(aws: Aws, UserName: string): Promise<AccessKeyMetadata[]> {
  const found: AccessKeyMetadata[] = [];
  await unlessMissing(missing, async () => {
    for await (const { AccessKeyMetadata: some = [] } of paginateListAccessKeys({ client: aws.iam }, { UserName })) {
      found.push(...some);
    }
  });
  return found;
}
