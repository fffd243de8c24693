/** An object store for development: one server, one volume, two buckets. */
import { ObjectStore } from "cells-services/objectstore";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-objectstore");
const s3 = new ObjectStore(
  "s3",
  {
    namespace: namespace.metadata.name,
    buckets: ["files", "thumbnails"],
    applications: ["shop"],
    deletion: "delete",
  },
  { provider },
);

export const { endpoint, region, buckets, certificateAuthority } = s3;
export const { secret } = s3.application("shop");
/** For `npx cells-services check`. */
export const checks = [s3.checkTarget];
