import { IAMClient } from "@aws-sdk/client-iam";
import { KMSClient } from "@aws-sdk/client-kms";
import { S3Client } from "@aws-sdk/client-s3";
import type { Failure } from "../server/provider";
import { isMap, type PropertyMap, unknown, type Value } from "../server/values";

/** The settings of `new aws.Provider(...)` that this plugin knows. */
export interface Configuration {
  region: string | undefined;
  accessKey: string | undefined;
  secretKey: string | undefined;
  token: string | undefined;
  s3UsePathStyle: boolean;
  endpoints: Partial<Record<Service, string>>;
}

const services = ["s3", "kms", "iam", "sts"] as const;
export type Service = (typeof services)[number];

const read = ["region", "accessKey", "secretKey", "token", "s3UsePathStyle", "endpoints"];
// They make the official plugin ask who it is, or spare it questions, that this one never asks.
const skipped = [
  "allowedAccountIds",
  "skipCredentialsValidation",
  "skipMetadataApiCheck",
  "skipRegionValidation",
  "skipRequestingAccountId",
];
const ofTheEngine = /^(version|pluginDownloadURL|__.*)$/;

/** What the settings ask for and this plugin does not do. */
export function refuseConfiguration(config: PropertyMap): Failure[] {
  const failures = Object.entries(config)
    .filter(([key, value]) => value !== null && value !== "" && !ofTheEngine.test(key))
    .filter(([key]) => !read.includes(key) && !skipped.includes(key))
    .map(([property]) => ({
      property,
      reason:
        `${property} is not part of the stand-in for aws; it reads ${read.join(", ")} ` +
        `and passes over ${skipped.join(", ")}; the rest needs the official plugin`,
    }));
  const others = endpointsOf(config["endpoints"]).flatMap((each) =>
    Object.keys(each).filter((service) => !services.includes(service as Service)),
  );
  if (others.length > 0) {
    failures.push({
      property: "endpoints",
      reason: `endpoints must be for ${services.join(", ")}, got ${others.join(", ")}; the rest needs the official plugin`,
    });
  }
  return failures;
}

/** Settings come as JSON in strings, and some may come from the environment. */
export function readConfiguration(
  config: PropertyMap,
  environment: Record<string, string | undefined> = process.env,
): Configuration {
  const words = (key: string, ...variables: string[]): string | undefined => {
    const value = config[key];
    if (typeof value === "string" && value !== "" && value !== unknown) return value;
    return variables.map((variable) => environment[variable]).find((found) => found !== undefined && found !== "");
  };
  const given = endpointsOf(config["endpoints"]);
  const endpoint = (service: Service): string | undefined => {
    const own = given.map((each) => each[service]).find((each) => typeof each === "string" && each !== "");
    if (typeof own === "string") return own;
    return environment[`AWS_ENDPOINT_URL_${service.toUpperCase()}`] || environment["AWS_ENDPOINT_URL"] || undefined;
  };
  return {
    region: words("region", "AWS_REGION", "AWS_DEFAULT_REGION"),
    accessKey: words("accessKey", "AWS_ACCESS_KEY_ID"),
    secretKey: words("secretKey", "AWS_SECRET_ACCESS_KEY"),
    token: words("token", "AWS_SESSION_TOKEN"),
    s3UsePathStyle: config["s3UsePathStyle"] === true || config["s3UsePathStyle"] === "true",
    endpoints: Object.fromEntries(
      services.flatMap((service) => {
        const url = endpoint(service);
        return url === undefined ? [] : [[service, url]];
      }),
    ),
  };
}

function endpointsOf(value: Value | undefined): PropertyMap[] {
  if (typeof value !== "string") return Array.isArray(value) ? value.filter(isMap) : [];
  if (value === "" || value === unknown) return [];
  const parsed = JSON.parse(value) as Value;
  return Array.isArray(parsed) ? parsed.filter(isMap) : [];
}

/** AWS as the resource types use it. A client is made when it is first asked for. */
export interface Aws {
  readonly region: string;
  readonly s3: S3Client;
  readonly kms: KMSClient;
  readonly iam: IAMClient;
}

export function connect(configuration: Configuration): Aws {
  const made: { s3?: S3Client; kms?: KMSClient; iam?: IAMClient } = {};
  const settings = (service: Service) => ({
    region: regionOf(configuration),
    credentials: credentialsOf(configuration),
    endpoint: endpointOf(configuration, service),
  });
  return {
    get region() {
      return regionOf(configuration);
    },
    get s3() {
      return (made.s3 ??= new S3Client({ ...settings("s3"), forcePathStyle: configuration.s3UsePathStyle }));
    },
    get kms() {
      return (made.kms ??= new KMSClient(settings("kms")));
    },
    get iam() {
      return (made.iam ??= new IAMClient(settings("iam")));
    },
  };
}

function regionOf({ region }: Configuration): string {
  if (region === undefined)
    throw new Error("aws has no region; set aws:region, the region of the Provider or AWS_REGION");
  return region;
}

/**
 * An endpoint is asked for, since the stand-in was made for an emulator: it waits for nothing that AWS itself does later,
 * and a forgotten setting must not make things in somebody's account.
 */
function endpointOf({ endpoints }: Configuration, service: Service): string {
  const endpoint = endpoints[service];
  if (endpoint !== undefined) return endpoint;
  throw new Error(
    `the stand-in for aws talks to an emulator only, and has no endpoint for ${service}; ` +
      "set aws:endpoints, the endpoints of the Provider or AWS_ENDPOINT_URL, or use the official plugin",
  );
}

function credentialsOf({ accessKey, secretKey, token }: Configuration) {
  if (accessKey === undefined || secretKey === undefined) {
    throw new Error(
      "aws has no credentials; set accessKey and secretKey of the Provider, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
  }
  return {
    accessKeyId: accessKey,
    secretAccessKey: secretKey,
    ...(token === undefined ? {} : { sessionToken: token }),
  };
}
