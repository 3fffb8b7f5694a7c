/**
 * The packages that the command is made with. The build puts them, with their licences, into this file of the package
 * (src/cli/bundle.mjs), so that whoever installs the library gets no dependency for the sake of its command.
 */
export { SingleBar } from 'cli-progress';
export { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
