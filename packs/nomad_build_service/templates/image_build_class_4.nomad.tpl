[[ template "further_class" (list . 3) ]]
