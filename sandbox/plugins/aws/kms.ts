import {
  CreateAliasCommand,
  CreateKeyCommand,
  DescribeKeyCommand,
  EnableKeyRotationCommand,
  GetKeyRotationStatusCommand,
  UpdateAliasCommand,
} from "@aws-sdk/client-kms";
import { type ResourceType, text } from "../server/resource";
import { type Aws, unlessMissing } from "./calls";

export const key: ResourceType<Aws> = {
  inputs: ["description", "deletionWindowInDays", "enableKeyRotation"],
  replaces: [],
  create: async ({ kms }, inputs) => {
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({ Description: text(inputs, "description") }));
    const { KeyId = "", Arn = "" } = KeyMetadata ?? {};
    if (inputs["enableKeyRotation"] === true) await kms.send(new EnableKeyRotationCommand({ KeyId }));
    return { id: KeyId, outputs: { keyId: KeyId, arn: Arn } };
  },
  read: async ({ kms }, KeyId) => {
    const found = await unlessMissing(kms.send(new DescribeKeyCommand({ KeyId })));
    // A key that waits for its end is gone for a program.
    if (found === undefined || found.KeyMetadata?.KeyState === "PendingDeletion") return undefined;
    const { KeyRotationEnabled } = await kms.send(new GetKeyRotationStatusCommand({ KeyId }));
    return { description: found.KeyMetadata?.Description, enableKeyRotation: KeyRotationEnabled };
  },
};

export const alias: ResourceType<Aws> = {
  inputs: ["name", "targetKeyId"],
  replaces: ["name"],
  create: async ({ kms }, inputs) => {
    const AliasName = text(inputs, "name");
    await kms.send(new CreateAliasCommand({ AliasName, TargetKeyId: text(inputs, "targetKeyId") }));
    return { id: AliasName };
  },
  read: async ({ kms }, KeyId) => {
    const found = await unlessMissing(kms.send(new DescribeKeyCommand({ KeyId })));
    return found && { targetKeyId: found.KeyMetadata?.KeyId };
  },
  update: ({ kms }, AliasName, inputs) =>
    kms.send(new UpdateAliasCommand({ AliasName, TargetKeyId: text(inputs, "targetKeyId") })),
};
