import { step } from "../progress";
import { buildServers, formerServers } from "../servers";
import { buildToolchain, formerTools } from "../toolchain";
import { makeArchive } from "./archive";
import { formerImages, type Image, images } from "./catalogue";

export { makeArchive } from "./archive";
export { type Image, images, nodeBinary, references } from "./catalogue";

/** Makes the archives once, before three nodes ask for them at the same time. */
export async function makeImages(): Promise<void> {
  await step("images", async () => {
    for (const image of images) await makeArchive(image);
    return `${images.length} ready`;
  });
}

/** The services whose version before is had here, and which it is. */
export const formerVersions = {
  etcd: formerTools.etcd.version,
  nats: formerTools.nats.version,
  redis: formerServers.redis.version,
  mongodb: formerServers.mongodb.version,
};

export async function makeFormerImage(service: keyof typeof formerVersions): Promise<Image> {
  if (service === "redis" || service === "mongodb") await buildServers([formerServers[service]]);
  else await buildToolchain([formerTools[service]]);
  const image = formerImages[service];
  await makeArchive(image);
  return image;
}
