#!/usr/bin/env node
/** The command of the installed package: `npx cells-services check|top|backups|backup [flags]`. */
const usage = "usage: npx cells-services check|top|backups|backup [flags]; flags: npx cells-services check --help\n";

/** What the Kubernetes client needs. The components run on older versions, so `npm install` does not refuse them. */
const oldest = [22, 19] as const;

const commands = {
  check: () => import("./cli.js"),
  top: () => import("./top.js"),
  backups: () => import("./backups.js"),
  backup: () => import("./backup.js"),
};

const [command = ""] = process.argv.splice(2, 1);
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (command === "--help" || command === "-h") process.stdout.write(usage);
else if (!isCommand(command)) fail(usage);
else if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
  fail(
    `checks: Node.js must be ${oldest.join(".")} or newer, got ${process.version}; run the command with a newer one\n`,
  );
} else {
  // In the bundle this is the main module, so the command line runs as soon as it is loaded.
  void commands[command]();
}

function isCommand(text: string): text is keyof typeof commands {
  return Object.hasOwn(commands, text);
}

function fail(message: string): void {
  process.stderr.write(message);
  process.exitCode = 2;
}
