import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  PutRolePolicyCommand,
  TagRoleCommand,
  UntagRoleCommand,
  UpdateAssumeRolePolicyCommand,
  UpdateRoleCommand,
} from "@aws-sdk/client-iam";
import type { PropertyMap } from "../server/values";
import { fields, goneTags, optional, type ResourceType, tagPairs, tagProperties, text, unlessMissing } from "./type";

const missing = ["NoSuchEntity", "NoSuchEntityException"];
// AWS's own: one hour.
const defaultSessionSeconds = 3600;
const sessionSeconds = (inputs: PropertyMap) => Number(inputs["maxSessionDuration"] ?? defaultSessionSeconds);

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
  name: { key: "name", make: (logicalName, digits) => `${logicalName.slice(0, 56)}-${digits}` },
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
      const gone = goneTags(before, inputs);
      if (gone.length > 0) await aws.iam.send(new UntagRoleCommand({ RoleName, TagKeys: gone }));
      const Tags = tagPairs(fields(inputs, "tags"));
      if (Tags.length > 0) await aws.iam.send(new TagRoleCommand({ RoleName, Tags }));
    }
  },
  delete: async (aws, RoleName) => {
    await unlessMissing(missing, () => aws.iam.send(new DeleteRoleCommand({ RoleName })));
  },
};

function placeOf(id: string): { RoleName: string; PolicyName: string } {
  const [RoleName = "", PolicyName = ""] = id.split(":");
  if (RoleName === "" || PolicyName === "") throw new Error(`the id must be role:policy, got ${JSON.stringify(id)}`);
  return { RoleName, PolicyName };
}

export const rolePolicy: ResourceType = {
  inputs: { name: "text", role: "text", policy: "policy" },
  required: ["role", "policy"],
  replaces: ["name", "role"],
  chosen: ["name"],
  name: { key: "name", make: (logicalName, digits) => `${logicalName}-${digits}` },
  outputs: {},
  create: async (aws, inputs) => {
    const id = `${text(inputs, "role")}:${text(inputs, "name")}`;
    await aws.iam.send(new PutRolePolicyCommand({ ...placeOf(id), PolicyDocument: text(inputs, "policy") }));
    return id;
  },
  read: async (aws, id) => {
    const place = placeOf(id);
    const found = await unlessMissing(missing, () => aws.iam.send(new GetRolePolicyCommand(place)));
    if (found === undefined) return undefined;
    return { name: place.PolicyName, role: place.RoleName, policy: document(found.PolicyDocument) };
  },
  update: async (aws, id, inputs) => {
    await aws.iam.send(new PutRolePolicyCommand({ ...placeOf(id), PolicyDocument: text(inputs, "policy") }));
  },
  delete: async (aws, id) => {
    await unlessMissing(missing, () => aws.iam.send(new DeleteRolePolicyCommand(placeOf(id))));
  },
};
