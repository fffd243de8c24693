import { serve } from "../server";
import { randomProvider } from "./provider";

// The version is put in by the build.
void serve(randomProvider(process.env["PLUGIN_VERSION"] ?? "0.0.0"));
