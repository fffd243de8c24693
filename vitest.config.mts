import { defineConfig } from "vitest/config";

// One process for all unit tests: loading @pulumi/pulumi costs more than the tests themselves.
export default defineConfig({
  test: {
    projects: [
      {
        // The examples import the package by its name. Here that is its sources.
        resolve: { tsconfigPaths: true },
        test: {
          name: "unit",
          include: ["tests/unit/**/*.test.ts", "{sandbox,components,stacks,checks,drills}/**/*.unit.test.ts"],
          isolate: false,
          // Recording a whole stack takes seconds on a busy machine.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "manifests",
          include: ["tests/manifests/**/*.test.ts"],
          testTimeout: 60_000,
          // The first run builds kube-score.
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "package",
          include: ["tests/package/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "sandbox",
          include: ["tests/sandbox/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "cluster",
          include: ["tests/cluster/**/*.test.ts"],
          isolate: false,
          fileParallelism: false,
          testTimeout: 1_200_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
