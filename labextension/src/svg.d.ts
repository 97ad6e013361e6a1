/** An icon's file as text, as the build puts it in. */
declare module "*.svg" {
  const text: string;
  export default text;
}
