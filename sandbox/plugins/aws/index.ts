import { serve } from "../server";
import { awsProvider } from "./provider";

// The version is put in by the build.
void serve(awsProvider(process.env["PLUGIN_VERSION"] ?? "0.0.0"));
