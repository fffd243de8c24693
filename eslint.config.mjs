import tseslint from "typescript-eslint";

/** One room of the house: files that must not import what these patterns match. */
const room = (files, ...forbidden) => ({
  files,
  rules: {
    "@typescript-eslint/no-restricted-imports": [
      "error",
      { patterns: forbidden.map(([regex, message]) => ({ regex, message })) },
    ],
  },
});

const sandbox = ["(^|/)sandbox(/|$)", "only tests and the command line use the sandbox"];
const pulumi = ["^@pulumi/", "this code runs without Pulumi: in the cluster, or in a check"];
const deploy = ["/(deploy|index|manifest|arguments)$|/deploy/", "this code runs without Pulumi: import from shared/core"];
const agentOrCheck = [
  "^\\.\\./(agent|check)/|/shared/(agent|check)(/|$)|components/[a-z]+/(agent|check|client|sidecar)$",
  "this code runs in `pulumi up`: what runs in the cluster, or in a check, is not loaded here",
];
const runtime = [
  "/shared/(agent|check)(/|$)|^\\./(?!(alerts|arguments|index|manifest|layout|member|configuration|compatibility|rights)$)",
  "this code runs in `pulumi up`: what runs in the cluster, or in a check, is not loaded here",
];
const clients = [
  "^(etcd3|ioredis|mongodb|mysql2|@nats-io|@aws-sdk|@smithy|@kubernetes/client-node|socks)(/|$)",
  "a preview loads no client of a database, of AWS or of Kubernetes",
];

export default tseslint.config(
  { ignores: ["dist/**", "lib/**", "node_modules/**", "*.config.*"] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // An Output in a template string prints a warning instead of its value; only the typed rule sees it.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      // Functions that satisfy an async interface without waiting for anything are fine.
      "@typescript-eslint/require-await": "off",
      // What the build made, such as the bundle of an agent, is loaded when a component is created, and not when its module is.
      "@typescript-eslint/no-require-imports": ["error", { allow: ["/dist/(agents|dashboards)/"] }],
    },
  },
  room(["components/**", "stacks/**", "checks/**", "drills/**", "examples/**"], sandbox),
  room(["components/*/*.ts"], sandbox, pulumi, deploy),
  room(["components/*/{alerts,index,manifest,arguments}.ts"], sandbox, runtime, clients),
  room(["components/shared/deploy/**"], sandbox, agentOrCheck, clients),
  room(["components/shared/core/**"], ["^(?!node:|\\./)", "the core imports nothing but Node.js and itself"]),
  room(["components/shared/{agent,check}/**"], sandbox, pulumi, deploy),
  room(["stacks/**"], sandbox, agentOrCheck, clients),
);
