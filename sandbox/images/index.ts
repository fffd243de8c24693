import { step } from "../progress";
import { makeArchive } from "./archive";
import { images } from "./catalogue";

export { makeArchive } from "./archive";
export { images, nodeBinary, references } from "./catalogue";

/** Makes the archives once, before three nodes ask for them at the same time. */
export async function makeImages(): Promise<void> {
  await step("images", async () => {
    for (const image of images) await makeArchive(image);
    return `${images.length} ready`;
  });
}
