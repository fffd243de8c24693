import { describe, expect, it } from "vitest";
import { imageReference, images } from "../../../components/shared/deploy/images";
import { versions } from "../../../sandbox/toolchain/catalogue";
import { pages, readPage } from "./pages";

const references = Object.values(images).map((image) => imageReference(image));

describe.each(pages)("%s", (page) => {
  const text = readPage(page);

  it("names images that are used", () => {
    const named = [...text.matchAll(/\b(?:docker|gcr)\.io\/[\w./-]+:[\w.-]*\w/g)].map(([image]) => image);
    expect(named.filter((image) => !references.includes(image))).toEqual([]);
  });

  it("names the versions of Pulumi and Kubernetes that are run", () => {
    const named = [...text.matchAll(/(?:[Pp]ulumi|Kubernetes|Only)`?(?: of)? (\d+\.\d+\.\d+)(?!\.\d)/g)].map(
      ([, version = ""]) => version,
    );
    expect(named.filter((version) => ![versions.pulumi, versions.kubernetes].includes(version))).toEqual([]);
  });
});

it("the page of the sandbox has the version of each program that is built", () => {
  const page = readPage("docs/sandbox.md");
  expect(Object.values(versions).filter((version) => !page.includes(`| ${version}`))).toEqual([]);
});
