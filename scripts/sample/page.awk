# Turns a little markup into HTML: "# title", "* [link] text", paragraphs.
function escaped(text) {
  gsub(/&/, "\\&amp;", text)
  gsub(/</, "\\&lt;", text)
  gsub(/>/, "\\&gt;", text)
  return text
}
function close_block() {
  if (block != "") print "</" block ">"
  block = ""
}
BEGIN { print "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">" }
/^# / { close_block(); print "<h1>" escaped(substr($0, 3)) "</h1>"; next }
/^\* \[/ {
  if (block != "ul") { close_block(); block = "ul"; print "<ul>" }
  link = $2
  gsub(/[][]/, "", link)
  text = $0
  sub(/^\* \[[^]]*\] */, "", text)
  print "<li><a href=\"" escaped(link) "\">" escaped(text) "</a></li>"
  next
}
/^ *$/ { close_block(); next }
{
  if (block != "p") { close_block(); block = "p"; print "<p>" }
  print escaped($0)
}
END { close_block(); print "</html>" }
