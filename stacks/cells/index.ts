/** What Cells needs of the services, and what it is told about them. */
export type { CellsStore } from "./facts";
export { application, type BucketNames, bucketNames, bucketPurposes, bucketsForCells, vaultForCells } from "./needs";
export { type CellsOutputs, provideCells } from "./provide";
export { tlsDefaults } from "./tls";
