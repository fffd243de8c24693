import { step } from "../progress";
import { makeArchive } from "./archive";
import { type Image, images, type OtherImage } from "./catalogue";

export { makeArchive } from "./archive";
export {
  formerVersions,
  type Image,
  images,
  nextVersions,
  nodeBinary,
  type OtherImage,
  prometheusImage,
  references,
} from "./catalogue";

/** Makes the archives once, before three nodes ask for them at the same time. */
export async function makeImages(): Promise<void> {
  await step("images", async () => {
    for (const image of images) await makeArchive(image);
    return `${images.length} ready`;
  });
}

export async function makeOtherImage({ build, image }: OtherImage): Promise<Image> {
  await build();
  await makeArchive(image);
  return image;
}
