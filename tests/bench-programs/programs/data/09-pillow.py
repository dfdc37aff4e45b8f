from PIL import Image, ImageDraw, ImageFilter
image = Image.new("RGB", (400, 300), "white")
draw = ImageDraw.Draw(image)
for i in range(0, 400, 20):
    draw.line((i, 0, 400 - i, 300), fill=(i % 256, 80, 120), width=2)
image.filter(ImageFilter.GaussianBlur(2)).resize((200, 150)).save("small.png")
again = Image.open("small.png")
print(again.size, again.mode, again.format)
