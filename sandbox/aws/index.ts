export { awsAnswers, awsCommand, awsCredentials, awsEndpoint, signalAws, startAws } from "./emulator";
export { emulatedAws, giveCredentials } from "./stack";
