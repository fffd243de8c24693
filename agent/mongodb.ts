import { commands } from "../components/mongodb/agent";
import { run } from "./main";

void run(commands);
