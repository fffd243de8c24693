import {
  CreateAliasCommand,
  CreateKeyCommand,
  DeleteAliasCommand,
  DescribeKeyCommand,
  DisableKeyRotationCommand,
  EnableKeyRotationCommand,
  GetKeyPolicyCommand,
  GetKeyRotationStatusCommand,
  ListResourceTagsCommand,
  PutKeyPolicyCommand,
  paginateListAliases,
  ScheduleKeyDeletionCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
  UpdateKeyDescriptionCommand,
} from "@aws-sdk/client-kms";
import {
  changeTags,
  fields,
  flag,
  optional,
  type ResourceType,
  type TagPair,
  tagPairs,
  tagProperties,
  text,
  unlessMissing,
} from "./type";

const missing = ["NotFoundException"];
const PolicyName = "default";
const kmsTags = (tags: TagPair[]) => tags.map(({ Key, Value }) => ({ TagKey: Key, TagValue: Value }));

export const key: ResourceType = {
  inputs: {
    description: "text",
    enableKeyRotation: "flag",
    deletionWindowInDays: "number",
    policy: "policy",
    tags: "tags",
  },
  required: [],
  replaces: [],
  chosen: ["description", "policy"],
  untold: ["deletionWindowInDays"],
  outputs: {
    arn: undefined,
    keyId: undefined,
    keyUsage: undefined,
    customerMasterKeySpec: undefined,
    isEnabled: undefined,
    multiRegion: undefined,
    region: undefined,
    tagsAll: "tags",
  },
  create: async (aws, inputs) => {
    const { KeyMetadata } = await aws.kms.send(
      new CreateKeyCommand({
        KeyUsage: "ENCRYPT_DECRYPT",
        KeySpec: "SYMMETRIC_DEFAULT",
        ...optional("Description", text(inputs, "description")),
        ...optional("Policy", text(inputs, "policy")),
        Tags: kmsTags(tagPairs(fields(inputs, "tags"))),
      }),
    );
    return KeyMetadata?.KeyId ?? "";
  },
  complete: async (aws, KeyId, inputs) => {
    if (flag(inputs, "enableKeyRotation")) await aws.kms.send(new EnableKeyRotationCommand({ KeyId }));
  },
  read: async (aws, KeyId) => {
    const { KeyMetadata: found } =
      (await unlessMissing(missing, () => aws.kms.send(new DescribeKeyCommand({ KeyId })))) ?? {};
    // A key that waits for its end is gone for a program, as it is for the official plugin.
    if (found === undefined || found.KeyState === "PendingDeletion") return undefined;
    const [{ Policy }, { KeyRotationEnabled }, { Tags }] = await Promise.all([
      aws.kms.send(new GetKeyPolicyCommand({ KeyId, PolicyName })),
      aws.kms.send(new GetKeyRotationStatusCommand({ KeyId })),
      aws.kms.send(new ListResourceTagsCommand({ KeyId })),
    ]);
    return {
      arn: found.Arn ?? "",
      keyId: found.KeyId ?? "",
      keyUsage: found.KeyUsage ?? "ENCRYPT_DECRYPT",
      customerMasterKeySpec: found.KeySpec ?? "SYMMETRIC_DEFAULT",
      isEnabled: found.Enabled ?? true,
      multiRegion: found.MultiRegion ?? false,
      region: aws.region,
      description: found.Description ?? "",
      enableKeyRotation: KeyRotationEnabled ?? false,
      policy: Policy ?? "",
      ...tagProperties((Tags ?? []).map(({ TagKey, TagValue }) => [TagKey, TagValue])),
    };
  },
  update: async (aws, KeyId, inputs, changed, before) => {
    if (changed("enableKeyRotation")) {
      const Rotation = flag(inputs, "enableKeyRotation") ? EnableKeyRotationCommand : DisableKeyRotationCommand;
      await aws.kms.send(new Rotation({ KeyId }));
    }
    if (changed("description") && inputs["description"] !== undefined) {
      await aws.kms.send(new UpdateKeyDescriptionCommand({ KeyId, Description: text(inputs, "description") }));
    }
    if (changed("policy") && text(inputs, "policy") !== "") {
      await aws.kms.send(new PutKeyPolicyCommand({ KeyId, PolicyName, Policy: text(inputs, "policy") }));
    }
    if (changed("tags")) {
      await changeTags(before, inputs, {
        untag: (TagKeys) => aws.kms.send(new UntagResourceCommand({ KeyId, TagKeys })),
        tag: (tags) => aws.kms.send(new TagResourceCommand({ KeyId, Tags: kmsTags(tags) })),
      });
    }
  },
  // AWS deletes a key after a delay only: what it closed cannot be opened again.
  delete: async (aws, KeyId, state) => {
    const days = state["deletionWindowInDays"];
    const schedule = new ScheduleKeyDeletionCommand({
      KeyId,
      ...optional("PendingWindowInDays", typeof days === "number" ? days : undefined),
    });
    await unlessMissing([...missing, "KMSInvalidStateException"], () => aws.kms.send(schedule));
  },
};

/** A key is meant by its id as much as by its ARN. */
const keyIdOf = (target: string): string => target.replace(/^arn:.*:key\//, "");

export const alias: ResourceType = {
  inputs: { name: "text", targetKeyId: "text" },
  required: ["targetKeyId"],
  replaces: ["name"],
  chosen: ["name"],
  name: { key: "name", make: (logicalName, digits) => `alias/${logicalName}-${digits}` },
  outputs: { arn: undefined, region: undefined, targetKeyArn: "targetKeyId" },
  normal: (inputs) => ({ ...inputs, targetKeyId: keyIdOf(text(inputs, "targetKeyId")) }),
  create: async (aws, inputs) => {
    const AliasName = text(inputs, "name");
    await aws.kms.send(new CreateAliasCommand({ AliasName, TargetKeyId: text(inputs, "targetKeyId") }));
    return AliasName;
  },
  read: async (aws, id) => {
    for await (const { Aliases } of paginateListAliases({ client: aws.kms }, {})) {
      const found = (Aliases ?? []).find(({ AliasName }) => AliasName === id);
      if (found === undefined) continue;
      const { AliasArn = "", TargetKeyId = "" } = found;
      const targetKeyArn = AliasArn.replace(/:alias\/.*$/, `:key/${TargetKeyId}`);
      return { arn: AliasArn, name: id, region: aws.region, targetKeyId: TargetKeyId, targetKeyArn };
    }
    return undefined;
  },
  update: async (aws, id, inputs) => {
    await aws.kms.send(new UpdateAliasCommand({ AliasName: id, TargetKeyId: text(inputs, "targetKeyId") }));
  },
  delete: async (aws, id) => {
    await unlessMissing(missing, () => aws.kms.send(new DeleteAliasCommand({ AliasName: id })));
  },
};
