import { commands } from "../components/objectstore/agent";
import { run } from "./main";

void run(commands);
