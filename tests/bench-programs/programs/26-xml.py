import html, io, xml.etree.ElementTree as ET
root = ET.Element("items")
for i in range(50):
    ET.SubElement(root, "item", id=str(i)).text = f"value {i} <&>"
again = ET.fromstring(ET.tostring(root))
print(len(again), again.find("item[@id='7']").text, html.escape("<a & b>"))
