/** Vite gives the address of a file whose import ends in ?url. */
declare module '*?url' {
  const address: string;
  export default address;
}
