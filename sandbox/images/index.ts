export { makeArchive } from "./archive";
export { images, nodeBinary, references } from "./catalogue";
